"""The one table of errors: what a client gets instead of a result. Each dialect writes them in its own format.

Exception                           status  type                    code
ClientGone                          (499)   the client disconnected: logged, nothing is sent
ApiError                            400     invalid_request_error   none
├── InvalidHttp                     400     invalid_request_error   invalid_http
├── InvalidJson                     400     invalid_request_error   invalid_json
├── MissingParameter                400     invalid_request_error   missing_required_parameter
├── InvalidValue                    400     invalid_request_error   invalid_value
├── MissingVariable                 400     invalid_request_error   invalid_value
├── EmptyArray                      400     invalid_request_error   empty_array
├── ArrayTooLong                    400     invalid_request_error   array_above_max_length
├── InputTooLong                    400     invalid_request_error   none
├── NoRoom                          400     invalid_request_error   none
├── TooManyTokens                   400     max_tokens_per_request  max_tokens_per_request
├── DimensionsUnsupported           400     invalid_request_error   none
├── ResponseTooLarge                400     invalid_request_error   response_too_large
├── WrongModelKind                  400     invalid_request_error   wrong_model_kind
├── NotCalibrated                   400     invalid_request_error   not_calibrated
├── ForeignTokenIds                 400     invalid_request_error   foreign_token_ids
├── InvalidApiKey                   401     invalid_request_error   invalid_api_key
├── HostNotAllowed                  403     invalid_request_error   host_not_allowed
├── OriginNotAllowed                403     invalid_request_error   origin_not_allowed
├── UnknownUrl                      404     invalid_request_error   unknown_url
├── ModelNotFound                   404     invalid_request_error   model_not_found
├── MethodNotAllowed                405     invalid_request_error   method_not_allowed
├── SpaceMismatch                   409     invalid_request_error   space_mismatch
├── BodyTimeout                     408     timeout_error           request_timeout
├── PayloadTooLarge                 413     invalid_request_error   payload_too_large
├── UnsupportedMedia                415     invalid_request_error   unsupported_media_type
├── HeadTooLarge                    431     invalid_request_error   headers_too_large
├── InternalError                   500     server_error            internal_error
│   ├── NonFiniteOutput             500     server_error            non_finite_output
│   ├── TooLargeForDevice           500     server_error            out_of_memory
│   └── EngineDied                  500     server_error            engine_died
├── DeadlineExceeded                504     timeout_error           deadline_exceeded
└── Retryable                       with Retry-After
    ├── QueueFull                   429     tokens                  rate_limit_exceeded
    │   ├── TooManyWaiting          429     requests                rate_limit_exceeded
    │   ├── TooManyRequests         429     requests                rate_limit_exceeded
    │   ├── TooManyBodies           429     requests                rate_limit_exceeded
    │   ├── WaitTooLong             429     tokens                  rate_limit_exceeded
    │   ├── TokenizerBusy           429     tokens                  rate_limit_exceeded
    │   └── TooLate                 429     tokens                  rate_limit_exceeded
    └── Unavailable                 503     server_error            unavailable
        ├── ModelLoading            503     server_error            model_loading
        ├── SpaceUnknown                503     server_error            space_unknown
        └── Draining                503     server_error            draining
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

# Tells a client how to stop sending ids of a vocabulary that is not the model's.
SEND_TEXT = "If you use LangChain's OpenAIEmbeddings, set check_embedding_ctx_length=False, or send text."

BASE_URLS = "Base URLs end in /v1 (OpenAI, Jina, vLLM), in /inference/v1 (Fireworks) or in no path (Cohere, TEI)."


# Integers of 64 bits have 20 digits at most.
_LONG_NUMBER = re.compile(r"\d{21,}")


def _shortened(number: re.Match[str]) -> str:
    return f"{number[0][:6]}... ({len(number[0])} digits)"


class ClientGone(Exception):
    """The client disconnected before its response was ready."""


class ApiError(Exception):
    """An error response. The message names the field, the value, the limit and the fix; users' text is quoted in part.

    Fireworks' dialect has codes of its own, and a message of its own where its clients compare the text.
    """

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None
    fireworks_code: ClassVar[str | None] = None
    fireworks_message: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        # A JSON number such as 1e300 is an integer of 301 digits.
        self.message = _LONG_NUMBER.sub(_shortened, message)
        super().__init__(self.message)
        self.param = param
        self.headers = dict(headers or {})


class InvalidHttp(ApiError):
    """The bytes of a connection are not HTTP/1.1, or the framing of a body is broken."""

    code = "invalid_http"

    def __init__(self) -> None:
        super().__init__("The request is not valid HTTP/1.1.", headers={"Connection": "close"})


class InvalidJson(ApiError):
    """The body is not JSON, or not an object."""

    code = "invalid_json"

    def __init__(self, reason: str) -> None:
        super().__init__(f"We could not parse the JSON body of your request: {reason}")


class MissingParameter(ApiError):
    """A required field is absent or null."""

    code = "missing_required_parameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"Missing required parameter: '{name}'.", param=name)


class InvalidValue(ApiError):
    """A field has a wrong type or value."""

    code = "invalid_value"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"Invalid '{where}': {reason}", param=where.split("[")[0])


class MissingVariable(ApiError):
    """A prompt_template uses a variable that an input does not have."""

    code = "invalid_value"

    def __init__(self, name: str, where: str) -> None:
        message = f"prompt_template needs '{name[:64]}', which {where} does not have."
        super().__init__(message, param="prompt_template")


class EmptyArray(ApiError):
    """An array without items."""

    code = "empty_array"

    def __init__(self, where: str) -> None:
        super().__init__(f"Invalid '{where}': empty array. Expected at least one item.", param=where.split("[")[0])


class ArrayTooLong(ApiError):
    """An array with more items than its limit."""

    code = "array_above_max_length"

    def __init__(self, name: str, limit: int, got: int) -> None:
        message = f"Invalid '{name}': array too long. Expected at most {limit} items, but got {got}."
        super().__init__(message, param=name)


class InputTooLong(ApiError):
    """An input over the model's maximum. The first sentence is OpenAI's: clients parse the index and the limit."""

    def __init__(self, where: str, limit: int, tokens: int | None, *, may_be_cut: bool) -> None:
        """`tokens` is None where the rest of the input was not tokenised."""
        # Cohere's `truncate` is the end at which a text is cut.
        cut = '"END"' if where.startswith("texts") else "true"
        fix = f'send shorter text, or "truncate": {cut}' if may_be_cut else "send shorter text"
        length = f"more than {limit}" if tokens is None else str(tokens)
        super().__init__(
            f"Invalid '{where}': maximum input length is {limit} tokens. This input is {length} tokens: {fix}.",
            param=where.split("[")[0],
        )


class NoRoom(ApiError):
    """The instruction and the query leave no room for a document."""

    def __init__(self, tokens: int | None, limit: int, what: str = "the model's maximum", where: str = "query") -> None:
        """`tokens` is None where a part of the query was not tokenised."""
        length = f"more than {limit}" if tokens is None else str(tokens)
        message = (
            f"Invalid '{where}': instruction and query take {length} tokens and leave no room for a document; "
            f"{what} is {limit}."
        )
        super().__init__(message, param=where.split("[")[0])


class TooManyTokens(ApiError):
    """A request over the limit on its total tokens. The wording is OpenAI's."""

    type = "max_tokens_per_request"
    code = "max_tokens_per_request"

    def __init__(self, got: int, limit: int, param: str) -> None:
        super().__init__(f"Requested {got} tokens, max {limit} tokens per request", param=param)


class DimensionsUnsupported(ApiError):
    """The model was not trained for shorter vectors (Matryoshka). The wording is OpenAI's."""

    def __init__(self, field: str = "dimensions") -> None:
        super().__init__("This model does not support specifying dimensions.", param=field)


class ResponseTooLarge(ApiError):
    """The response would hold too many numbers."""

    code = "response_too_large"

    def __init__(self, inputs: int, values: int, what: str, limit: int) -> None:
        super().__init__(
            f"{inputs} inputs × {values} {what} exceed the limit of {limit} values per response. Send fewer inputs."
        )


class WrongModelKind(ApiError):
    """The model cannot do what the route does."""

    code = "wrong_model_kind"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class NotCalibrated(ApiError):
    """A form of vectors needs the statistics of the model's vectors, and nothing has measured them."""

    code = "not_calibrated"

    def __init__(self, name: str, dtype: str, source: str) -> None:
        super().__init__(
            f"Invalid '{name}': '{dtype}' would lose much of this model's ranking, because its vectors have not been "
            f"measured. Run `hearth calibrate {source}` and start the server again, or send 'float' or 'float16'.",
            param=name,
        )


class ForeignTokenIds(ApiError):
    """Token ids of another vocabulary."""

    code = "foreign_token_ids"

    def __init__(self, model: str, where: str = "input") -> None:
        message = f"Invalid '{where}': these token ids are not from the vocabulary of model `{model}`. {SEND_TEXT}"
        super().__init__(message, param=where)


class InvalidApiKey(ApiError):
    """No API key, or an unknown one."""

    status = 401
    code = "invalid_api_key"
    fireworks_code = "UNAUTHORIZED"

    def __init__(self, sent: bool) -> None:
        missing = "Missing API key. Send it as 'Authorization: Bearer <key>'."
        super().__init__("Incorrect API key provided." if sent else missing, headers={"WWW-Authenticate": "Bearer"})


class HostNotAllowed(ApiError):
    """Without keys, a server on a loopback address is not addressed by a name that others can give it."""

    status = 403
    code = "host_not_allowed"
    fireworks_code = "FORBIDDEN"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"The Host header names {host[:64]!r}, and this server without API keys answers for its own machine only. "
            "Add the name to allowed_hosts in its configuration, or configure keys."
        )


class OriginNotAllowed(ApiError):
    """Without keys, a server on a loopback address is not called by pages of other sites."""

    status = 403
    code = "origin_not_allowed"
    fireworks_code = "FORBIDDEN"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"The request comes from a web page of {origin[:64]!r}, and this server without API keys answers pages of "
            "its own machine only. Add the origin to cors_origins in its configuration, or configure keys."
        )


class UnknownUrl(ApiError):
    """No route has this path."""

    status = 404
    code = "unknown_url"
    fireworks_code = "NOT_FOUND"

    def __init__(self, method: str, path: str, nearest: str | None = None) -> None:
        hint = f" Did you mean {nearest}?" if nearest else ""
        super().__init__(f"Unknown request URL: {method} {path[:64]}.{hint} {BASE_URLS}")


class ModelNotFound(ApiError):
    """No served model has this name."""

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


class NoModelOfKind(ModelNotFound):
    """The request names no model, and none of the served ones is of the kind that it needs."""

    def __init__(self, kind: str, served: dict[str, str]) -> None:
        """`served`: the kind of each served model, by its id."""
        models = ", ".join(f"{name} (kind: {its_kind})" for name, its_kind in served.items())
        ApiError.__init__(
            self,
            f"No {kind} is served, and the request names no model. Served models: {models}. If one of them is a "
            f"{kind}, set `kind: {kind}` for it in the server's configuration.",
            param="model",
        )


class MethodNotAllowed(ApiError):
    """The route exists for another method."""

    status = 405
    code = "method_not_allowed"
    fireworks_code = "METHOD_NOT_ALLOWED"

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        message = f"Not allowed to {method} on {path[:64]}. Use {' or '.join(allowed)}."
        super().__init__(message, headers={"Allow": ", ".join(allowed)})


class SpaceMismatch(ApiError):
    """The vectors would not be comparable with those of the space that the client expects."""

    status = 409
    code = "space_mismatch"
    fireworks_code = "CONFLICT"

    def __init__(self, space: str, expected: str, different: Mapping[str, tuple[str, str]]) -> None:
        fields = ", ".join(f"{name} {wanted} there and {here} here" for name, (wanted, here) in different.items())
        super().__init__(
            f"These vectors would lie in another space than the expected one ({fields}). Here it is {space}; expected "
            f"was {expected}. Embed the index again, or ask the server that made it.",
            param="X-Hearth-Expected-Space",
        )


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
    """The Content-Type or the Content-Encoding is not supported, or the body is not what its encoding says."""

    status = 415
    code = "unsupported_media_type"
    fireworks_code = "UNSUPPORTED_MEDIA_TYPE"


class HeadTooLarge(ApiError):
    """The request line and headers are larger than the limit."""

    status = 431
    code = "headers_too_large"
    fireworks_code = "HEADERS_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request line and headers exceed {limit} bytes; send fewer or shorter headers.",
            headers={"Connection": "close"},
        )


class InternalError(ApiError):
    """A fault of the server. The log has the details under the request id."""

    status = 500
    type = "server_error"
    code = "internal_error"
    fireworks_code = "INTERNAL_SERVER_ERROR"


class NonFiniteOutput(InternalError):
    """The model computed NaN or Inf; a retry gives the same result."""

    code = "non_finite_output"

    def __init__(self, where: str) -> None:
        message = f"The model produced a non-finite value for {where}."
        super().__init__(message, headers={"x-should-retry": "false"})


class TooLargeForDevice(InternalError):
    """One input alone needs more memory than the device has."""

    code = "out_of_memory"

    def __init__(self, where: str, tokens: int) -> None:
        message = f"The device has too little memory for {where}, which has {tokens} tokens. Send shorter text."
        super().__init__(message, headers={"x-should-retry": "false"})


class EngineDied(InternalError):
    """The engine died twice while this request ran, the second time alone; a retry would end it again."""

    code = "engine_died"

    def __init__(self, request_id: str) -> None:
        message = f"This request ended the engine twice, and is not run again. Request id {request_id}."
        super().__init__(message, headers={"x-should-retry": "false"})


class DeadlineExceeded(ApiError):
    """The result did not come within the request's time limit."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"
    fireworks_code = "TIMEOUT"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request was not answered within its limit of {seconds:g} s.")


class Retryable(ApiError):
    """A refusal that may pass. SDKs wait as Retry-After says, and do not retry at all if it is over 120 seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        seconds = min(max(int(retry_after_s + 0.999), 1), 120)
        headers = {"Retry-After": str(seconds), "retry-after-ms": str(seconds * 1000)}
        super().__init__(f"{message} Retry in {seconds} s.", headers=headers)


class QueueFull(Retryable):
    """Too many tokens are waiting."""

    status = 429
    type = "tokens"
    code = "rate_limit_exceeded"
    fireworks_code = "RATE_LIMIT_EXCEEDED"

    def __init__(self, waiting_tokens: int, retry_after_s: float) -> None:
        super().__init__(f"The queue is full ({waiting_tokens} tokens waiting).", retry_after_s)


class TooManyWaiting(QueueFull):
    """Too many inputs are waiting, however short."""

    type = "requests"

    def __init__(self, waiting_items: int, retry_after_s: float) -> None:
        Retryable.__init__(self, f"The queue is full ({waiting_items} inputs waiting).", retry_after_s)


class TooManyBodies(QueueFull):
    """The bodies of other requests take the memory that this one would need."""

    type = "requests"

    def __init__(self, held_bytes: int, retry_after_s: float) -> None:
        message = f"The server holds {held_bytes} bytes of other requests, and has no room for this one."
        Retryable.__init__(self, message, retry_after_s)


class TooManyRequests(QueueFull):
    """Too many requests are in progress in this HTTP process."""

    type = "requests"

    def __init__(self, in_progress: int) -> None:
        Retryable.__init__(self, f"Too many requests are in progress ({in_progress}).", 1)


class WaitTooLong(QueueFull):
    """The request would have to wait too long for others."""

    def __init__(self, wait_s: float, limit_s: float) -> None:
        message = f"The request would wait about {wait_s:.0f} s for others, and the limit is {limit_s:g} s."
        Retryable.__init__(self, message, wait_s - limit_s)


class TokenizerBusy(QueueFull):
    """Too much text waits to be tokenised."""

    def __init__(self, waiting_characters: int, retry_after_s: float) -> None:
        message = f"Too much text is waiting to be tokenised ({waiting_characters} characters)."
        Retryable.__init__(self, message, retry_after_s)


class TooLate(QueueFull):
    """The request could not finish within its time limit, so it is refused at once."""

    def __init__(self, wait_s: float, timeout_s: float) -> None:
        message = f"The request would take about {wait_s:.0f} s, and the limit is {timeout_s:g} s."
        Retryable.__init__(self, message, wait_s - timeout_s)


class Unavailable(Retryable):
    """The engine cannot accept work now."""

    status = 503
    type = "server_error"
    code = "unavailable"
    fireworks_code = "SERVICE_UNAVAILABLE"


class ModelLoading(Unavailable):
    """The model is still loading."""

    code = "model_loading"

    def __init__(self) -> None:
        super().__init__("The model is loading.", 2)


class Draining(Unavailable):
    """The server is shutting down."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("The server is shutting down.", 5)


class SpaceUnknown(Unavailable):
    """The checksums that name the model's space are still being computed."""

    code = "space_unknown"

    def __init__(self) -> None:
        super().__init__("The name of this model's space is being computed from its files.", 5)
