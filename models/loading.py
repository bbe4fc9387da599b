"""Loads a model from its folder: the preprocessor without torch, then the backend that runs its weights."""

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

from models.checkpoint.folder import Checkpoint
from models.checkpoint.info import Names, published_model, read_info
from models.checkpoint.kind import EMBEDDER_MODULES, RERANKER_MODULES, check_supported, decide_kind
from models.checkpoint.manifest import check_text_files, check_weight_files
from models.checkpoint.sentence_transformers_files import check_modules, lowers_case
from models.interface import Backend, DeviceLost, Kind, LoadOptions, ModelError, ModelInfo, OutOfMemory
from models.networks.bert_config import why_not_own_bert
from models.networks.registry import ARCHITECTURES, why_not_packed
from models.text.added_tokens import word_rule
from models.text.chat.chat_template import ChatTemplate, named_special_tokens
from models.text.long_text import TextLimit
from models.text.named_prompts import NamedPrompts
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION, Qwen3RerankPrompt
from models.text.rerank_prompt import RerankPrompt, read_rerank_prompt, read_score_ids
from models.text.terminator import set_terminator
from models.text.tokenizer import Tokenizer, cut

log = logging.getLogger("hearth.models")

# Imported when chosen: torch costs 1.7 s to import, sentence_transformers 4.9 s.
BACKENDS = {
    "packed": "models.backends.packed",
    "encoder": "models.backends.encoder",
    "transformers": "models.backends.huggingface.transformers_backend",
    "transformers-padded": "models.backends.huggingface.transformers_backend",
    "sentence_transformers": "models.backends.huggingface.sentence_transformers_backend",
    "fake": "models.backends.fake",
}

# Backends that need no support of our own for the modules of sentence-transformers.
MODULE_BACKENDS = ("sentence_transformers", "fake")


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """A model's text side: what its files say, its tokenizer and its prompts. Any thread; no torch."""

    info: ModelInfo
    tokenizer: Tokenizer
    rerank: RerankPrompt | None  # of a reranker alone
    prompts: NamedPrompts = field(default_factory=NamedPrompts)
    chat: ChatTemplate | None = None

    @property
    def instruction(self) -> str:
        """The instruction of a reranker when a request sends none; "" where the prompt needs none."""
        return self.prompts.default or (self.rerank.default_instruction if self.rerank else DEFAULT_INSTRUCTION)

    def instructed(self, instruction: str) -> "Preprocessor":
        """The same model with another default instruction for queries.

        Raises: ModelError: its prompt has no place for an instruction.
        """
        if self.info.kind == "reranker":
            prompts = self.prompts if self.rerank is not None and self.rerank.takes_instruction else None
        else:
            prompts = self.prompts.instructed(instruction)
        if prompts is None:
            raise ModelError(f"{self.info.path} takes no instruction; remove the configured one: {instruction!r}")
        return replace(self, prompts=prompts)

    def truncate(self, text: str, max_tokens: int | None = None) -> str:
        """The first `max_tokens` tokens of a text, without special tokens; by default as many as fit beside them."""
        limit = self.info.max_tokens - self.tokenizer.special_count if max_tokens is None else max_tokens
        read = self.tokenizer.encode_within([text], TextLimit(limit))
        ids = read.ids[0]
        return text if len(ids) <= limit and not read.partial else self.tokenizer.decode(cut(ids, limit))


class _BackendModule(Protocol):
    def load(self, checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> Backend: ...


def load_preprocessor(source: Path | Checkpoint, options: LoadOptions | None = None) -> Preprocessor:
    """Read a model's text side, and check its files against what its kind needs. No weights are read.

    Args:
        source: the model's folder; or a Checkpoint, to parse its files once for this and for load_backend().
        options: how to load it; `backend`, `device` and `dtype` change nothing here.

    Raises: ModelError: a file is missing or damaged, or needs something that is not supported.
    """
    options = options or LoadOptions()
    checkpoint = _checkpoint(source, options)
    path = checkpoint.path
    manifest = checkpoint.manifest
    check_text_files(path, manifest)
    # First, because models of static embeddings have no config.json.
    check_modules(checkpoint, (*EMBEDDER_MODULES, *RERANKER_MODULES))
    checkpoint.check()
    is_word = word_rule(checkpoint, options.control_tokens)
    tokenizer = Tokenizer(path / "tokenizer.json", lower_case=lowers_case(checkpoint), is_word=is_word)
    kind, reason = decide_kind(checkpoint, tokenizer.added, options.kind)
    check_supported(checkpoint, kind, options.kind)
    _check_control_tokens(path, kind, tokenizer, options.control_tokens)
    if kind == "embedder" or (kind == "llm" and (checkpoint.modules or options.terminator is not None)):
        set_terminator(checkpoint, tokenizer, options.terminator)
    names = tuple(filter(None, (manifest.source if manifest else None, options.id)))
    info = read_info(checkpoint, options, kind, reason, names)
    rerank = read_rerank_prompt(checkpoint, tokenizer, options.rerank_frame) if kind == "reranker" else None
    if checkpoint.model_type == "qwen3" and isinstance(rerank, Qwen3RerankPrompt):
        _check_no_special_tokens(checkpoint, tokenizer)
    prompts = _named_prompts(checkpoint, names)
    if rerank is not None:
        if info.classifier and not rerank.takes_instruction and prompts.default:
            raise ModelError(f"{path} puts a prompt before each query, which is not supported: {prompts.default!r}")
        score_ids = None if info.classifier else read_score_ids(checkpoint, tokenizer)
        info = replace(info, separator=rerank.separator, no_yes=score_ids)
    chat = None
    if checkpoint.chat_template:
        chat = ChatTemplate(tokenizer, checkpoint.chat_template, named_special_tokens(checkpoint))
    return Preprocessor(info, tokenizer, rerank, prompts, chat)


def load_backend(
    source: Path | Checkpoint,
    info: ModelInfo,
    options: LoadOptions | None = None,
    progress: Callable[[str], object] = lambda step: None,
) -> Backend:
    """Load a model's weights into the backend that suits it. Call it in the thread that will launch batches.

    Args:
        source: the model's folder; or the Checkpoint that load_preprocessor() was given.
        info: of the same model, from load_preprocessor() with the same options.
        options: how to load it; `backend` "auto" chooses by the files.
        progress: called with the name of each step when it begins.

    Raises:
        ModelError: weights are missing, damaged, too large for the device, or not computed correctly by the backend.
        DeviceLost: the device failed.
    """
    options = options or LoadOptions()
    checkpoint = _checkpoint(source, options)
    path = checkpoint.path
    name = options.backend if options.backend != "auto" else choose_backend(checkpoint, info)
    if name not in BACKENDS:
        raise ModelError(f"unknown backend {name!r}; choose one of: {', '.join(BACKENDS)}")
    if info.library_modules and name not in MODULE_BACKENDS:
        raise ModelError(f"{path} cannot be run by {name}: {info.library_modules}")
    progress("comparing the weights with their checksums")
    check_weight_files(path, checkpoint.manifest)
    progress(f"loading the weights into {name}")
    module = cast("_BackendModule", importlib.import_module(BACKENDS[name]))
    try:
        return module.load(checkpoint, info, options)
    except OutOfMemory as error:
        raise ModelError(f"{path} does not fit into the device's memory: {error}") from error
    except (ModelError, DeviceLost):
        raise
    except Exception as error:  # libraries raise exceptions of any class for unsupported files
        log.debug("the load failed", exc_info=True)
        raise ModelError(f"{path} cannot be loaded by {name}: {type(error).__name__}: {_first_line(error)}") from error


def device_name(configured: str) -> str:
    """The device that a configured name means. Only "auto" imports torch, to see which devices there are."""
    if configured == "auto":
        from models.devices import choose_device

        configured = choose_device(configured).type
    return "cuda:0" if configured == "cuda" else configured


def limit_memory(device: str, share: float) -> None:
    """Let this process use no more than this share of a GPU's memory. Call it before load_backend().

    Raises: ModelError: this machine has no such device.
    """
    from models.devices import choose_device, limit_gpu_memory

    limit_gpu_memory(choose_device(device), share)


def choose_backend(checkpoint: Checkpoint, info: ModelInfo) -> str:
    """The backend for "auto": packed where that network knows every setting of config.json, else transformers."""
    if info.library_modules:
        return "sentence_transformers"
    if info.kind == "embedder" and why_not_own_bert(checkpoint) is None:
        return "encoder"
    if (reason := why_not_packed(checkpoint)) is None:
        return "packed"
    if checkpoint.model_type in ARCHITECTURES:
        log.warning("%s is not run by `packed`, which is several times as fast: %s", checkpoint.path, reason)
    return "transformers"


def _checkpoint(source: Path | Checkpoint, options: LoadOptions) -> Checkpoint:
    path, ignored = source.path if isinstance(source, Checkpoint) else source, frozenset(options.ignore_entries)
    return source if isinstance(source, Checkpoint) and source.ignored == ignored else Checkpoint(path, ignored)


def _named_prompts(checkpoint: Checkpoint, names: Names) -> NamedPrompts:
    return NamedPrompts(
        # The model's files win, even with an empty prompt.
        dict(published_model(checkpoint, names).prompts) | checkpoint.prompts,
        str(checkpoint.sentence_transformers.get("default_prompt_name") or ""),
        are_pooled=bool(checkpoint.pooling.get("include_prompt", True)),
    )


def _check_control_tokens(path: Path, kind: Kind, tokenizer: Tokenizer, configured: Sequence[str] | None) -> None:
    if configured and (unknown := [token for token in configured if token not in tokenizer.added]):
        raise ModelError(f"{path}/tokenizer.json has no added token that `control_tokens` names: {', '.join(unknown)}")
    if configured is not None and kind == "reranker":
        raise ModelError(
            f"{path} is a reranker: no text may hold the tokens around its query and document; remove `control_tokens`"
        )


def _check_no_special_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    if tokenizer.special_count:
        raise ModelError(
            f"{checkpoint.path} is a Qwen3 reranker, so tokenizer.json must add no tokens; "
            f"it adds: {tokenizer.before.tolist() + tokenizer.after.tolist()}"
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")
