"""Serves a parsed embeddings request, step by step. Requests for token logits take the same steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from models import Matrix, ModelInfo, PrefixOrder, Readout, finish_logits, finish_vectors, sort_by_prefix
from server.config import RequestLimits
from server.errors import (
    ArrayTooLong,
    DimensionsUnsupported,
    InvalidValue,
    ResponseTooLarge,
    TooManyTokens,
    WrongModelKind,
)
from server.processing.chats import prepare_chats, single_messages
from server.processing.context import RequestContext, ServingContext
from server.processing.outputs.output_forms import check_output_dtypes, other_forms
from server.processing.requests import (
    Chats,
    EmbeddingRequest,
    EmbeddingResult,
    TemplateVariables,
    Texts,
    TokenIds,
    label_of,
)
from server.processing.submit import submit
from server.processing.templates.prompt_template import read_template
from server.processing.tokenization import (
    Between,
    TokenizedInputs,
    counted,
    go_on,
    prepare_ids,
    prepare_prompts,
    prepare_texts,
    readable_characters,
    text_limit,
)
from server.registry import ServedModel

# The default limit on a body's size: a template must not be a way around it.
MAX_RENDERED_CHARACTERS = 32 * 1024 * 1024


async def embed(request: EmbeddingRequest, serving: ServingContext, context: RequestContext) -> EmbeddingResult:
    """Compute one row for each input: its vector, or the logits that the request names.

    Raises: ApiError, ClientGone.
    """
    model = serving.registry.find(request.model, "embedder" if request.return_logits is None else "reranker")
    request = _with_defaults(request, model)
    readout = _readout(request, model)
    _check_sizes(request, model, readout, serving.limits)
    check_output_dtypes(request, model)
    space = _space(request, model, serving, context)
    fewest = _fewest_tokens(request, context, serving.limits)
    serving.engine.check_room(
        model.id, fewest, len(request.input.values), caller=context.caller, left_s=context.left_s()
    )
    with context.trace.stage("tokenize"):
        tokenized, inputs = await _prepare_soon(request, model, serving, context)
    tokens = inputs.tokens
    if tokens > serving.limits.request_tokens:
        raise TooManyTokens(tokens, serving.limits.request_tokens, request.input.field)
    context.trace.note_work(model.id, len(inputs.ids), tokens)
    context.trace.control_tokens = tokenized.spelt_out
    label = label_of(request.input)
    rows = await submit(inputs, readout, model, serving=serving, context=context, label=label)
    finished = _finish(request, model, rows)
    return EmbeddingResult(
        request.model or model.id,
        finished,
        tokens,
        tokenized.truncated,
        tokenized.framed,
        tokenized.token_ids,
        _ignored(request, model),
        other_forms(request, model, finished),
        space,
    )


def _space(
    request: EmbeddingRequest, model: ServedModel, serving: ServingContext, context: RequestContext
) -> str | None:
    """The names for X-Hearth-Space.

    Raises: ApiError: the client expects another space.
    """
    if request.return_logits is not None:
        return None
    names, backend = serving.space_names, serving.engine.info.get(model.id)
    named = names.named(model, backend, request.output_dtypes, dimensions=request.dimensions, is_unit=request.normalize)
    if context.expected_space:
        names.check(context.expected_space, named.spaces)
    return named.header


def _with_defaults(request: EmbeddingRequest, model: ServedModel) -> EmbeddingRequest:
    """The request with the model's configured values for what its client left open."""
    allowed = model.config.truncate if request.cut.allowed is None else request.cut.allowed
    prompt_name = request.prompt_name
    # A prompt_template makes the whole prompt, so no default goes in front of it.
    if prompt_name is None and request.prompt_template is None:
        prompt_name = model.config.prompt_name
        has_prompt = model.is_prompted and prompt_name and model.preprocessor.prompts.find(prompt_name)
        if has_prompt and isinstance(request.input, TokenIds):
            reason = "the prompt that it names cannot be put before token ids; send text, or the name without a prompt."
            raise InvalidValue("model", reason)
    return replace(request, cut=replace(request.cut, allowed=allowed), prompt_name=prompt_name)


def _is_short(request: EmbeddingRequest, context: RequestContext) -> bool:
    is_text = isinstance(request.input, Texts) and request.prompt_template is None
    return is_text and context.is_short(len(request.input.values))


def _fewest_tokens(request: EmbeddingRequest, context: RequestContext, limits: RequestLimits) -> int:
    # The size of the body says nothing about inputs that may be cut, or that fill a template.
    if request.cut.allowed or request.prompt_template is not None or isinstance(request.input, Chats):
        return len(request.input.values)
    return min(context.fewest_tokens(), limits.request_tokens)


def _readout(request: EmbeddingRequest, model: ServedModel) -> Readout:
    if request.return_logits is None:
        _check_gives_vectors(request, model)
        return Readout("vector")
    _check_token_logits(request.return_logits, model, (request.model or model.id)[:64])
    return Readout("logits", request.return_logits)


def _check_gives_vectors(request: EmbeddingRequest, model: ServedModel) -> None:
    if model.kind != "reranker":
        return
    instead = "." if model.preprocessor.info.classifier else ", or send return_logits."
    raise WrongModelKind(
        f"Model `{(request.model or model.id)[:64]}` is a reranker and gives no embeddings. "
        f"Use POST /v1/rerank{instead}"
    )


def _check_token_logits(token_ids: tuple[int, ...], model: ServedModel, name: str) -> None:
    rows = model.preprocessor.info.head_rows
    if model.preprocessor.info.classifier:
        raise WrongModelKind(f"Model `{name}` is a classifier and has no token logits. Use POST /v1/rerank.")
    if not rows:
        raise WrongModelKind(f"Model `{name}` is an embedding model and has no token logits. Leave out return_logits.")
    if len(token_ids) > rows:
        raise ArrayTooLong("return_logits", rows, len(token_ids))
    for index, token_id in enumerate(token_ids):
        if not 0 <= token_id < rows:
            reason = f"token id {token_id} is outside the model's vocabulary (0..{rows - 1})."
            raise InvalidValue(f"return_logits[{index}]", reason)


def _check_sizes(request: EmbeddingRequest, model: ServedModel, readout: Readout, limits: RequestLimits) -> None:
    inputs = len(request.input.values)
    if inputs > limits.inputs:
        raise ArrayTooLong(request.input.field, limits.inputs, inputs)
    if readout.what == "logits":
        values, what = len(readout.ids) or model.preprocessor.info.head_rows, "logits"
    else:
        _check_dimensions(request.dimensions, request.dimensions_field, model)
        values, what = request.dimensions or model.preprocessor.info.width, "dimensions"
    if inputs * values > limits.response_floats:
        raise ResponseTooLarge(inputs, values, what, limits.response_floats)


def _check_dimensions(dimensions: int | None, field: str, model: ServedModel) -> None:
    width, allowed = model.preprocessor.info.width, model.preprocessor.info.matryoshka
    if dimensions is None or dimensions == width:
        return
    if allowed is False:
        raise DimensionsUnsupported(field)
    if not 1 <= dimensions <= width:
        raise InvalidValue(field, f"must be between 1 and {width} for this model; got {dimensions}.")
    if isinstance(allowed, tuple) and dimensions not in allowed:
        *sizes, last = map(str, allowed_dimensions(model.preprocessor.info))
        choices = f"one of {', '.join(sizes)} or {last}" if sizes else last
        raise InvalidValue(field, f"must be {choices} for this model; got {dimensions}.")


def allowed_dimensions(info: ModelInfo) -> list[int]:
    """The sizes that a model with a configured list gives: those of the list up to its width, and the width."""
    sizes = info.matryoshka if isinstance(info.matryoshka, tuple) else ()
    return sorted({*(size for size in sizes if size <= info.width), info.width})


def _characters(request: EmbeddingRequest, context: RequestContext, model: ServedModel) -> int:
    """About how many characters of text will be read."""
    if request.prompt_template is not None:
        characters = context.body_bytes + len(request.prompt_template) * len(request.input.values)
        return min(characters, MAX_RENDERED_CHARACTERS)
    if not isinstance(request.input, Texts):
        return context.body_bytes
    return readable_characters(request.input.values, text_limit(request.cut, model))


async def _prepare_soon(
    request: EmbeddingRequest, model: ServedModel, serving: ServingContext, context: RequestContext
) -> tuple[TokenizedInputs, PrefixOrder]:
    if _is_short(request, context):
        return _prepare(request, model, serving.limits, go_on)
    return await serving.work.tokenize(
        lambda between: _prepare(request, model, serving.limits, between),
        _characters(request, context, model),
        request.input.field,
        context,
    )


def _prepare(
    request: EmbeddingRequest, model: ServedModel, limits: RequestLimits, between: Between
) -> tuple[TokenizedInputs, PrefixOrder]:
    tokenized = _tokenize(request, model, counted(between, limits.request_tokens, request.input.field))
    return tokenized, sort_by_prefix(tokenized.ids)


def _tokenize(request: EmbeddingRequest, model: ServedModel, between: Between) -> TokenizedInputs:
    for_logits, inputs = request.return_logits is not None, request.input
    if isinstance(inputs, TokenIds):
        return prepare_ids(inputs, request.cut, model, for_logits=for_logits, between=between)
    if isinstance(inputs, Chats):
        if model.preprocessor.chat is not None:
            return prepare_chats(inputs, request.cut, model, for_logits=for_logits, between=between)
        inputs = single_messages(inputs)
    texts = _rendered(inputs, request.prompt_template, model, between)
    if for_logits:
        return prepare_prompts(texts, request.cut, model, between)
    return prepare_texts(_with_prompt(texts, request, model), request.cut, model, between)


def _rendered(inputs: Texts | TemplateVariables, source: str | None, model: ServedModel, between: Between) -> Texts:
    if source is None:
        assert isinstance(inputs, Texts), "the dialect let objects through without a prompt_template"
        return inputs
    template = read_template(source, model.preprocessor.truncate)
    label = label_of(inputs)
    texts: list[str] = []
    characters = 0
    values: Sequence[str | dict[str, Any]] = inputs.values
    for index, value in enumerate(values):
        between(0)
        # A string fills the variable `text`: Fireworks documents objects only, but its own benchmark sends strings.
        variables = {"text": value} if isinstance(value, str) else value
        texts.append(template.render(variables, label(index)))
        characters += len(texts[-1])
        if characters > MAX_RENDERED_CHARACTERS:
            reason = f"the inputs render to more than {MAX_RENDERED_CHARACTERS} characters in all; send fewer inputs."
            raise InvalidValue("prompt_template", reason)
    return Texts(tuple(texts), inputs.is_list, inputs.field)


def _with_prompt(texts: Texts, request: EmbeddingRequest, model: ServedModel) -> Texts:
    if not request.prompt_name:
        return texts
    prompts, field = model.preprocessor.prompts, request.prompt_field
    prompt = prompts.find(request.prompt_name)
    if prompt is None and field == "prompt_name":
        names = ", ".join(prompts.by_name) or "none"
        raise InvalidValue(
            field, f"this model has no prompt named '{request.prompt_name[:64]}'; its prompts are: {names}."
        )
    if not prompt:
        return texts
    if not prompts.are_pooled:
        raise InvalidValue(field, "this model leaves its prompt out of the mean, which is not supported; leave it out.")
    return Texts(tuple(prompt + text for text in texts.values), texts.is_list, texts.field)


def _ignored(request: EmbeddingRequest, model: ServedModel) -> tuple[str, ...]:
    # Many models have a prompt for queries alone: a document without one is as the model wants it.
    if request.prompt_field != "task" or request.prompt_name in (None, "", "document"):
        return ()
    return () if model.preprocessor.prompts.find(str(request.prompt_name)) is not None else (request.prompt_field,)


def _finish(request: EmbeddingRequest, model: ServedModel, rows: Matrix) -> Matrix:
    if request.return_logits is not None:
        return finish_logits(rows, normalize=request.normalize)
    layer_norm = model.preprocessor.info.layer_norm_before_dimensions
    return finish_vectors(rows, dimensions=request.dimensions, normalize=request.normalize, layer_norm=layer_norm)
