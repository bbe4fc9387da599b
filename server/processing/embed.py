"""How an embeddings call is carried out, step by step; the same steps give logits."""

from dataclasses import replace

from anyio import to_thread

from models import Matrix, PrefixOrder, Readout, finish_logits, finish_vectors, sort_by_prefix
from server.config import RequestLimits
from server.errors import (
    ArrayTooLong,
    DimensionsUnsupported,
    InvalidValue,
    ResponseTooLarge,
    TooManyTokens,
    WrongModelKind,
)
from server.processing.prompt_template import read_template
from server.processing.requests import EmbeddingRequest, EmbeddingResult, TemplateVariables, Texts, TokenIds
from server.processing.submit import Caller, Service, count_tokens, is_short, least_tokens
from server.processing.tokenization import TokenizedInputs, label_of, prepare_ids, prepare_prompts, prepare_texts
from server.registry import ServedModel

# As large as the largest body by default: a template is no way around that limit.
MAX_RENDERED_CHARACTERS = 32 * 1024 * 1024


async def embed(call: EmbeddingRequest, service: Service, caller: Caller) -> EmbeddingResult:
    """One row for every input: its vector, or the logits that were asked for.

    Raises: ApiError, ClientGone.
    """
    model = service.registry.find(call.model, "embedder" if call.return_logits is None else "reranker")
    call = _with_defaults(call, model)
    readout = _readout(call, model)
    _check_sizes(call, model, readout, service.limits)
    service.engine.check_room(model.id, _least_tokens(call, caller, service.limits), len(call.input.values))
    with caller.trace.stage("tokenize"):
        prepared, inputs = (
            _prepare(call, model) if _is_short(call, caller) else await to_thread.run_sync(_prepare, call, model)
        )
    tokens = count_tokens(inputs.ids)
    if tokens > service.limits.request_tokens:
        raise TooManyTokens(tokens, service.limits.request_tokens, call.input.field)
    caller.trace.note_work(model.id, len(inputs.ids), tokens)
    rows = await service.rows(model, inputs, readout, caller, label_of(call.input))
    matrix = _finish(call, model, rows)
    return EmbeddingResult(
        call.model or model.id, matrix, tokens, prepared.truncated, prepared.framed, prepared.token_ids
    )


def _with_defaults(call: EmbeddingRequest, model: ServedModel) -> EmbeddingRequest:
    """The call with what its client left to the model's configuration."""
    allowed = model.config.truncate if call.cut.allowed is None else call.cut.allowed
    # A template makes its own prompt.
    prompt = model.config.prompt_name if call.prompt_name is None and call.prompt_template is None else call.prompt_name
    return replace(call, cut=replace(call.cut, allowed=allowed), prompt_name=prompt)


def _is_short(call: EmbeddingRequest, caller: Caller) -> bool:
    is_text = isinstance(call.input, Texts) and call.prompt_template is None
    return is_text and is_short(caller, len(call.input.values))


def _least_tokens(call: EmbeddingRequest, caller: Caller, limits: RequestLimits) -> int:
    # Where an input may be cut or filled into a template, the body's size says nothing.
    if call.cut.allowed or call.prompt_template is not None:
        return len(call.input.values)
    return min(least_tokens(caller), limits.request_tokens)


def _readout(call: EmbeddingRequest, model: ServedModel) -> Readout:
    name = (call.model or model.id)[:64]
    if call.return_logits is None:
        if model.kind == "reranker":
            instead = "Use POST /v1/rerank" + (
                "." if model.preprocessor.info.classifier else ", or send return_logits."
            )
            raise WrongModelKind(f"Model `{name}` is a reranker and gives no embeddings. {instead}")
        return Readout("vector")
    rows = model.preprocessor.info.head_rows
    if model.preprocessor.info.classifier:
        raise WrongModelKind(f"Model `{name}` is a classifier and has no token logits. Use POST /v1/rerank.")
    if not rows:
        raise WrongModelKind(f"Model `{name}` is an embedding model and has no token logits. Leave out return_logits.")
    if len(call.return_logits) > rows:
        raise ArrayTooLong("return_logits", rows, len(call.return_logits))
    for place, token_id in enumerate(call.return_logits):
        if not 0 <= token_id < rows:
            reason = f"token id {token_id} is outside the model's vocabulary (0..{rows - 1})."
            raise InvalidValue(f"return_logits[{place}]", reason)
    return Readout("logits", call.return_logits)


def _check_sizes(call: EmbeddingRequest, model: ServedModel, readout: Readout, limits: RequestLimits) -> None:
    inputs = len(call.input.values)
    if inputs > limits.inputs:
        raise ArrayTooLong(call.input.field, limits.inputs, inputs)
    if readout.what == "logits":
        values, what = len(readout.ids) or model.preprocessor.info.head_rows, "logits"
    else:
        _check_dimensions(call.dimensions, call.dimensions_field, model)
        values, what = call.dimensions or model.preprocessor.info.width, "dimensions"
    if inputs * values > limits.response_floats:
        raise ResponseTooLarge(inputs, values, what, limits.response_floats)


def _check_dimensions(dimensions: int | None, field: str, model: ServedModel) -> None:
    width, allowed = model.preprocessor.info.width, model.preprocessor.info.matryoshka
    if dimensions is None or dimensions == width:
        return
    if allowed is False:
        raise DimensionsUnsupported(field)
    if not 1 <= dimensions <= width:
        raise InvalidValue(field, f"must be between 1 and {width} for this model.")
    if isinstance(allowed, tuple) and dimensions not in allowed:
        sizes = ", ".join(map(str, allowed))
        raise InvalidValue(field, f"must be one of {sizes} or {width} for this model.")


def _prepare(call: EmbeddingRequest, model: ServedModel) -> tuple[TokenizedInputs, PrefixOrder]:
    prepared = _tokenize(call, model)
    return prepared, sort_by_prefix(prepared.ids)


def _tokenize(call: EmbeddingRequest, model: ServedModel) -> TokenizedInputs:
    if isinstance(call.input, TokenIds):
        return prepare_ids(call.input, call.cut, model, for_logits=call.return_logits is not None)
    texts = _rendered(call.input, call.prompt_template, model)
    if call.return_logits is not None:
        return prepare_prompts(texts, call.cut, model)
    return prepare_texts(_with_prompt(texts, call, model), call.cut, model)


def _rendered(inputs: Texts | TemplateVariables, source: str | None, model: ServedModel) -> Texts:
    if source is None:
        assert isinstance(inputs, Texts), "objects without a template got past the dialect"
        return inputs
    template = read_template(source, model.preprocessor.truncate)
    label = label_of(inputs)
    # A string fills the variable `text`: Fireworks documents objects alone, its own benchmark sends strings.
    variables = [{"text": value} if isinstance(value, str) else value for value in inputs.values]
    texts: list[str] = []
    characters = 0
    for index, each in enumerate(variables):
        texts.append(template.render(each, label(index)))
        characters += len(texts[-1])
        if characters > MAX_RENDERED_CHARACTERS:
            raise InvalidValue(
                "prompt_template", f"makes more than {MAX_RENDERED_CHARACTERS} characters of all inputs."
            )
    return Texts(tuple(texts), inputs.is_list, inputs.field)


def _with_prompt(texts: Texts, call: EmbeddingRequest, model: ServedModel) -> Texts:
    if not call.prompt_name:
        return texts
    prompts, field = model.preprocessor.prompts, "input_type" if call.prompt_is_optional else "prompt_name"
    prompt = prompts.find(call.prompt_name)
    if prompt is None and not call.prompt_is_optional:
        known = ", ".join(prompts.by_name) or "none"
        raise InvalidValue(field, f"this model has no prompt of that name; it has: {known}.")
    if not prompt:
        return texts
    if not prompts.are_pooled:
        raise InvalidValue(field, "this model leaves its prompt out of the mean, which is not served.")
    return Texts(tuple(prompt + text for text in texts.values), texts.is_list, texts.field)


def _finish(call: EmbeddingRequest, model: ServedModel, rows: Matrix) -> Matrix:
    if call.return_logits is not None:
        return finish_logits(rows, normalize=call.normalize)
    layer_norm = model.preprocessor.info.layer_norm_before_dimensions
    return finish_vectors(rows, dimensions=call.dimensions, normalize=call.normalize, layer_norm=layer_norm)
