"""What the server cannot do, or not now: full queues, engines that are away, devices that fail, time that is over."""

from server.errors import ApiError


class Retryable(ApiError):
    """A refusal that may pass; SDKs wait as long as Retry-After says, and not at all above 120 seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        seconds = min(max(int(retry_after_s + 0.999), 1), 120)
        headers = {"Retry-After": str(seconds), "retry-after-ms": str(seconds * 1000)}
        super().__init__(f"{message} Retry in {seconds} s.", headers=headers)


class QueueFull(Retryable):
    """Too much is waiting."""

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


class TooLate(QueueFull):
    """The request could not be answered within its time, so that it is refused at once."""

    def __init__(self, wait_s: float, timeout_s: float) -> None:
        message = f"The queue is {wait_s:.0f} s long, and a request may take {timeout_s:g} s."
        Retryable.__init__(self, message, wait_s - timeout_s)


class Unavailable(Retryable):
    """The engine cannot take work now."""

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


class InternalError(ApiError):
    """A fault of ours; the log holds the rest under the request id."""

    status = 500
    type = "server_error"
    code = "internal_error"
    fireworks_code = "INTERNAL_SERVER_ERROR"


class NonFiniteOutput(InternalError):
    """The model gave NaN or Inf; trying again gives the same."""

    code = "non_finite_output"

    def __init__(self, where: str) -> None:
        message = f"The model produced a non-finite value for {where}."
        super().__init__(message, headers={"x-should-retry": "false"})


class TooLargeForDevice(InternalError):
    """One input alone needs more memory than the device has."""

    code = "out_of_memory"

    def __init__(self, where: str, tokens: int) -> None:
        message = f"The device has too little memory for {where}, which is {tokens} tokens long."
        super().__init__(message, headers={"x-should-retry": "false"})


class DeadlineExceeded(ApiError):
    """The request waited too long."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"
    fireworks_code = "TIMEOUT"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request waited longer than {seconds:g} s.")
