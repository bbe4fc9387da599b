"""The table of errors, row by row (docs/http-contract.md), and the words that clients read."""

import re

import pytest

from server import errors
from server.errors import ApiError

TABLE = [
    (errors.InvalidJson("x"), 400, "invalid_request_error", "invalid_json", None),
    (errors.MissingParameter("input"), 400, "invalid_request_error", "missing_required_parameter", None),
    (errors.InvalidValue("top_n", "x"), 400, "invalid_request_error", "invalid_value", None),
    (errors.MissingVariable("text", "input"), 400, "invalid_request_error", "invalid_value", None),
    (errors.EmptyArray("input"), 400, "invalid_request_error", "empty_array", None),
    (errors.ArrayTooLong("input", 1, 2), 400, "invalid_request_error", "array_above_max_length", None),
    (errors.InputTooLong("input[8]", 5, 7, may_be_cut=True), 400, "invalid_request_error", None, None),
    (errors.NoRoom(41000, 40960), 400, "invalid_request_error", None, None),
    (errors.TooManyTokens(2, 1, "input"), 400, "max_tokens_per_request", "max_tokens_per_request", None),
    (errors.DimensionsUnsupported(), 400, "invalid_request_error", None, None),
    (errors.ResponseTooLarge(2, 3, "logits", 5), 400, "invalid_request_error", "response_too_large", None),
    (errors.WrongModelKind("x"), 400, "invalid_request_error", "wrong_model_kind", None),
    (errors.NotCalibrated("output_dtype", "binary", "m"), 400, "invalid_request_error", "not_calibrated", None),
    (errors.ForeignTokenIds("m"), 400, "invalid_request_error", "foreign_token_ids", None),
    (errors.InvalidApiKey(sent=True), 401, "invalid_request_error", "invalid_api_key", "UNAUTHORIZED"),
    (errors.HostNotAllowed("a.example"), 403, "invalid_request_error", "host_not_allowed", "FORBIDDEN"),
    (errors.OriginNotAllowed("https://a.example"), 403, "invalid_request_error", "origin_not_allowed", "FORBIDDEN"),
    (errors.UnknownUrl("GET", "/x"), 404, "invalid_request_error", "unknown_url", "NOT_FOUND"),
    (errors.ModelNotFound("x", []), 404, "invalid_request_error", "model_not_found", "NOT_FOUND"),
    (
        errors.MethodNotAllowed("GET", "/x", ["POST"]),
        405,
        "invalid_request_error",
        "method_not_allowed",
        "METHOD_NOT_ALLOWED",
    ),
    (errors.BodyTimeout(60), 408, "timeout_error", "request_timeout", "REQUEST_TIMEOUT"),
    (errors.SpaceMismatch("a", "b", {}), 409, "invalid_request_error", "space_mismatch", "CONFLICT"),
    (errors.InvalidHttp(), 400, "invalid_request_error", "invalid_http", None),
    (errors.HeadTooLarge(65536), 431, "invalid_request_error", "headers_too_large", "HEADERS_TOO_LARGE"),
    (errors.PayloadTooLarge(5), 413, "invalid_request_error", "payload_too_large", "PAYLOAD_TOO_LARGE"),
    (errors.UnsupportedMedia("no"), 415, "invalid_request_error", "unsupported_media_type", "UNSUPPORTED_MEDIA_TYPE"),
    (errors.InternalError("x"), 500, "server_error", "internal_error", "INTERNAL_SERVER_ERROR"),
    (errors.NonFiniteOutput("input[2]"), 500, "server_error", "non_finite_output", "INTERNAL_SERVER_ERROR"),
    (errors.TooLargeForDevice("input[2]", 5), 500, "server_error", "out_of_memory", "INTERNAL_SERVER_ERROR"),
    (errors.DeadlineExceeded(60), 504, "timeout_error", "deadline_exceeded", "TIMEOUT"),
    (errors.QueueFull(5, 1), 429, "tokens", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.TooManyWaiting(5, 1), 429, "requests", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.TooManyBodies(5, 1), 429, "requests", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.TooManyRequests(2048), 429, "requests", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.WaitTooLong(30, 10), 429, "tokens", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.TokenizerBusy(5, 1), 429, "tokens", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.TooLate(700, 590), 429, "tokens", "rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
    (errors.Unavailable("x", 1), 503, "server_error", "unavailable", "SERVICE_UNAVAILABLE"),
    (errors.ModelLoading(), 503, "server_error", "model_loading", "SERVICE_UNAVAILABLE"),
    (errors.EngineDied("id"), 500, "server_error", "engine_died", "INTERNAL_SERVER_ERROR"),
    (errors.Draining(), 503, "server_error", "draining", "SERVICE_UNAVAILABLE"),
    (errors.SpaceUnknown(), 503, "server_error", "space_unknown", "SERVICE_UNAVAILABLE"),
]
MESSAGES = [
    (errors.MissingParameter("input"), "Missing required parameter: 'input'."),
    (errors.EmptyArray("input"), "Invalid 'input': empty array. Expected at least one item."),
    (
        errors.InputTooLong("input[8]", 256, 312, may_be_cut=True),
        (
            "Invalid 'input[8]': maximum input length is 256 tokens. "
            'This input is 312 tokens: send shorter text, or "truncate": true.'
        ),
    ),
    (
        errors.InputTooLong("texts[0]", 256, 312, may_be_cut=True),
        (
            "Invalid 'texts[0]': maximum input length is 256 tokens. "
            'This input is 312 tokens: send shorter text, or "truncate": "END".'
        ),
    ),
    (
        errors.InputTooLong("input", 256, 312, may_be_cut=False),
        "Invalid 'input': maximum input length is 256 tokens. This input is 312 tokens: send shorter text.",
    ),
    (errors.TooManyTokens(309209, 300000, "input"), "Requested 309209 tokens, max 300000 tokens per request"),
    (errors.DimensionsUnsupported(), "This model does not support specifying dimensions."),
    (errors.InvalidApiKey(sent=True), "Incorrect API key provided."),
    (errors.PayloadTooLarge(33554432), "The request body exceeds 33554432 bytes."),
    (errors.BodyTimeout(60), "The request body did not arrive within 60 s."),
    (errors.QueueFull(52000, 2.5), "The queue is full (52000 tokens waiting). Retry in 3 s."),
    (errors.NonFiniteOutput("input[2]"), "The model produced a non-finite value for input[2]."),
    (errors.UnknownUrl("POST", "/v1/foo"), f"Unknown request URL: POST /v1/foo. {errors.BASE_URLS}"),
    (
        errors.UnknownUrl("POST", "/v1/embedding", "/v1/embeddings"),
        f"Unknown request URL: POST /v1/embedding. Did you mean /v1/embeddings? {errors.BASE_URLS}",
    ),
]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "fireworks_code"), TABLE, ids=lambda value: type(value).__name__
)
def test_each_condition_has_its_status_type_and_codes(
    error: ApiError, status: int, kind: str, code: str | None, fireworks_code: str | None
) -> None:
    assert (error.status, error.type, error.code, error.fireworks_code) == (status, kind, code, fireworks_code)


def test_the_tree_at_the_top_of_the_file_is_the_table() -> None:
    lines = re.findall(r"(\w+) +(\d{3})  +(\w+) +(\w+)$", errors.__doc__ or "", re.MULTILINE)

    drawn = {name: (status, kind, code) for name, status, kind, code in lines}
    rows = {type(error).__name__: (str(error.status), error.type, error.code or "none") for error, *_ in TABLE}
    assert drawn == rows | {"ApiError": ("400", "invalid_request_error", "none")}


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_the_words_that_clients_read_are_fixed(error: ApiError, message: str) -> None:
    assert error.message == message


@pytest.mark.parametrize(("wait_s", "header"), [(0, 1), (0.2, 1), (1, 1), (1.01, 2), (119.5, 120), (1e9, 120), (-5, 1)])
def test_75_retry_after_is_a_whole_number_from_1_to_120(wait_s: float, header: int) -> None:
    headers = errors.QueueFull(1, wait_s).headers

    assert headers == {"Retry-After": str(header), "retry-after-ms": str(header * 1000)}


def test_a_field_with_an_index_is_named_without_it_in_param() -> None:
    assert errors.InvalidValue("input[3][7]", "x").param == "input"


@pytest.mark.parametrize("error", [errors.NonFiniteOutput("input"), errors.TooLargeForDevice("input", 5)])
def test_27_what_would_fail_again_says_so(error: ApiError) -> None:
    assert error.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "error", [errors.UnknownUrl("GET", "/" + "x" * 500), errors.ModelNotFound("x" * 500, ["m"])], ids=["path", "name"]
)
def test_users_text_is_quoted_to_64_characters(error: ApiError) -> None:
    assert "x" * 64 not in error.message.replace("x" * 63, "", 1)
    assert len(error.message) < 200


def test_a_long_number_is_shown_by_its_first_digits() -> None:
    error = errors.InvalidValue("top_n", f"expected an integer ≥ 1; got -{10**300}, not {2**64 - 1}.")

    assert error.message == (
        "Invalid 'top_n': expected an integer ≥ 1; got -100000... (301 digits), not 18446744073709551615."
    )
    assert str(error) == error.message
