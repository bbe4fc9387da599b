"""What is wrong with the body of a request: 400, with the field, the limit and the fix in the message."""

from server.errors import ApiError

# What stops a client from sending ids of a vocabulary that is not the model's.
SEND_TEXT = "If you use LangChain's OpenAIEmbeddings, set check_embedding_ctx_length=False, or send text."


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
    """A prompt_template needs what an input does not have."""

    code = "invalid_value"

    def __init__(self, name: str, where: str) -> None:
        message = f"prompt_template needs '{name[:64]}', which {where} does not have."
        super().__init__(message, param="prompt_template")


class EmptyArray(ApiError):
    """A list without items."""

    code = "empty_array"

    def __init__(self, where: str) -> None:
        super().__init__(f"Invalid '{where}': empty array. Expected at least one item.", param=where.split("[")[0])


class ArrayTooLong(ApiError):
    """More items than a request may have."""

    code = "array_above_max_length"

    def __init__(self, name: str, limit: int, got: int) -> None:
        message = f"Invalid '{name}': array too long. Expected at most {limit} items, but got {got}."
        super().__init__(message, param=name)


class InputTooLong(ApiError):
    """An input over the model's maximum; clients take the index out of the message, so the wording is fixed."""

    def __init__(self, where: str, limit: int) -> None:
        super().__init__(f"Invalid '{where}': maximum input length is {limit} tokens.", param=where.split("[")[0])


class NoRoom(ApiError):
    """Instruction and query leave no room for a document."""

    def __init__(self, tokens: int, limit: int, what: str = "the model's maximum", where: str = "query") -> None:
        message = f"Invalid '{where}': instruction and query take {tokens} tokens; {what} is {limit}."
        super().__init__(message, param=where.split("[")[0])


class TooManyTokens(ApiError):
    """A request over the limit on tokens in all."""

    type = "max_tokens_per_request"
    code = "max_tokens_per_request"

    def __init__(self, got: int, limit: int, param: str) -> None:
        super().__init__(f"Requested {got} tokens, max {limit} tokens per request", param=param)


class DimensionsUnsupported(ApiError):
    """The model is not Matryoshka."""

    def __init__(self, field: str = "dimensions") -> None:
        super().__init__("This model does not support specifying dimensions.", param=field)


class ResponseTooLarge(ApiError):
    """The answer would hold too many numbers."""

    code = "response_too_large"

    def __init__(self, inputs: int, values: int, what: str, limit: int) -> None:
        super().__init__(f"{inputs} inputs × {values} {what} exceed the limit of {limit} values per response.")


class WrongModelKind(ApiError):
    """The model cannot do what the route does."""

    code = "wrong_model_kind"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class ForeignTokenIds(ApiError):
    """Token ids of another vocabulary."""

    code = "foreign_token_ids"

    def __init__(self, model: str, where: str = "input") -> None:
        message = f"Invalid '{where}': these token ids are not from the vocabulary of model `{model}`. {SEND_TEXT}"
        super().__init__(message, param=where)
