"""What a client is told that is not an answer: status, type, codes. How it is written is the dialect's.

Here is what may be wrong with a request whatever its body says: keys, routes, models, transport. Bodies are refused in
refusals.py, and what is wrong with the server is in outages.py.
"""

from collections.abc import Mapping
from typing import ClassVar


class ApiError(Exception):
    """An answer other than 200. Subclasses are the rows of the table; the message names the field and the fix."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None
    fireworks_code: ClassVar[str | None] = None
    fireworks_message: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


class InvalidApiKey(ApiError):
    """No key, or an unknown one."""

    status = 401
    code = "invalid_api_key"
    fireworks_code = "UNAUTHORIZED"

    def __init__(self, sent: bool) -> None:
        missing = "Missing API key. Send it as 'Authorization: Bearer <key>'."
        super().__init__("Incorrect API key provided." if sent else missing, headers={"WWW-Authenticate": "Bearer"})


class UnknownUrl(ApiError):
    """No such route."""

    status = 404
    code = "unknown_url"
    fireworks_code = "NOT_FOUND"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Unknown request URL: {method} {path[:64]}.")


class ModelNotFound(ApiError):
    """No served model of that name."""

    status = 404
    code = "model_not_found"
    fireworks_code = "NOT_FOUND"
    fireworks_message = "Model not found, inaccessible, and/or not deployed"

    def __init__(self, name: str, served: list[str]) -> None:
        message = (
            f"The model `{name[:64]}` does not exist or you do not have access to it. "
            f"Served models: {', '.join(served)}."
        )
        super().__init__(message, param="model")


class MethodNotAllowed(ApiError):
    """The route exists, for another method."""

    status = 405
    code = "method_not_allowed"
    fireworks_code = "METHOD_NOT_ALLOWED"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"Not allowed to {method} on {path[:64]}. Use {allowed}.", headers={"Allow": allowed})


class BodyTimeout(ApiError):
    """The body did not arrive in time."""

    status = 408
    type = "timeout_error"
    code = "request_timeout"
    fireworks_code = "REQUEST_TIMEOUT"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request body did not arrive within {seconds:g} s.", headers={"Connection": "close"})


class PayloadTooLarge(ApiError):
    """The body is over the byte limit; the rest of it is not read."""

    status = 413
    code = "payload_too_large"
    fireworks_code = "PAYLOAD_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body exceeds {limit} bytes.", headers={"Connection": "close"})


class UnsupportedMedia(ApiError):
    """Form data, or a content encoding that is not read."""

    status = 415
    code = "unsupported_media_type"
    fireworks_code = "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self) -> None:
        super().__init__("Send JSON with Content-Type: application/json.")


class ClientGone(Exception):
    """The client hung up: nothing is sent, the log shows 499."""
