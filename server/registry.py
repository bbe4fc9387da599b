"""The served models, found by every spelling of a name that clients use."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models import (
    CALIBRATIONS,
    Calibration,
    Checkpoint,
    Checksums,
    Kind,
    Preprocessor,
    bytes_to_read,
    calibration_file,
    find_checkpoint,
    load_preprocessor,
    model_digest,
    model_id,
    read_calibration,
)
from server.config import ConfigError, ModelConfig
from server.errors import InvalidValue, ModelNotFound, NoModelOfKind

_PREFIXES = re.compile(r"^(?:fireworks_ai/|fireworks/|accounts/[^/]+/models/)+")
MAX_NAME_CHARACTERS = 512
# Hashed in a quarter of a second. Larger models that nothing is known of are hashed while they are served.
READ_AT_START_BYTES = 256 * 1024 * 1024
# `name:query` with any prompt of the model, and NVIDIA NIM's `name-query` and `name-passage`.
_PROMPTED = re.compile(r"(?P<name>.+?)(?::(?P<prompt>[\w.-]+)|-(?P<purpose>query|passage))")
_POINT = re.compile(r"(?<=\d)p(?=\d)")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model: its preprocessor, its configuration, and what is known of its vectors.

    `calibration` is None until `hearth calibrate` has measured them.
    """

    id: str
    preprocessor: Preprocessor
    config: ModelConfig
    calibration: Calibration | None = None
    # Names the files behind its vectors; None while checksums of large files are not known.
    digest: str | None = None
    # Whether config.prompt_name is that of the name by which a client asked for the model: `name:query`.
    is_prompted: bool = False

    @property
    def kind(self) -> Kind:
        return self.preprocessor.info.kind

    @property
    def names(self) -> tuple[str, ...]:
        return (self.id, *self.config.aliases)


# Infinity's clients send this name where their user gives none.
UNNAMED = "default/not-specified"


class ModelRegistry:
    """All served models; fixed for the life of the process."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.models = tuple(models)
        self.created = int(time.time())
        self._exact = _unique((name, model) for model in models for name in model.names)
        self._normal = _groups(models, normalise)
        self._last = _groups(models, lambda name: normalise(name).rsplit("/", 1)[-1])

    def find(self, name: str | None, default: Kind, *others: Kind) -> ServedModel:
        """The model of this name; without a name, the first of the kind `default`, else of the `others` in order.

        A name may have a prompt behind it, which is then the model's default: `name:query`.

        Raises: ModelNotFound. InvalidValue: the name is too long.
        """
        if not name or (name == UNNAMED and name not in self._exact):
            return self._default(default, *others)
        if len(name) > MAX_NAME_CHARACTERS:
            raise InvalidValue("model", f"expected at most {MAX_NAME_CHARACTERS} characters; got {len(name)}.")
        model = self._named(name) or self._prompted(name)
        if model is None:
            raise ModelNotFound(name, [model.id for model in self.models])
        return model

    def _named(self, name: str) -> ServedModel | None:
        if model := self._exact.get(name):
            return model
        normal = normalise(name)
        return self._normal.get(normal) or self._last.get(normal.rsplit("/", 1)[-1])

    def _prompted(self, name: str) -> ServedModel | None:
        """The model of a name with a prompt behind it, with that prompt as its default."""
        match = _PROMPTED.fullmatch(name)
        model = self._named(match["name"]) if match else None
        if match is None or model is None or model.kind == "reranker":
            return None
        prompt = match["prompt"] or match["purpose"]
        prompt = "document" if prompt == "passage" else prompt
        if model.preprocessor.prompts.find(prompt) is None:
            if prompt not in ("query", "document"):
                return None
            # As with input_type: a model without such a prompt reads the text alone.
            prompt = ""
        return replace(model, config=model.config.model_copy(update={"prompt_name": prompt}), is_prompted=True)

    def _default(self, kind: Kind, *others: Kind) -> ServedModel:
        # A causal LLM gives vectors too: it is the default where no embedder is served.
        for candidate in (kind, "llm") if kind == "embedder" else (kind, *others):
            for model in self.models:
                if model.kind == candidate:
                    return model
        raise NoModelOfKind(kind, {model.id: model.kind for model in self.models})


def load_registry(configs: Sequence[ModelConfig], state_folder: Path | None = None) -> ModelRegistry:
    """Find every configured model, and load its preprocessor and what the state folder knows of it.

    Raises: ModelError, ConfigError.
    """
    return ModelRegistry([_load(config, state_folder) for config in configs])


def normalise(name: str) -> str:
    """A model name without what clients add to it: `fireworks/qwen3-embedding-0p6b` -> `qwen3-embedding-0.6b`."""
    name = name.split("#", 1)[0]
    name = _PREFIXES.sub("", name)
    return _POINT.sub(".", name.lower())


def _load(config: ModelConfig, state_folder: Path | None) -> ServedModel:
    folder = find_checkpoint(config.path, config.revision)
    checkpoint = Checkpoint(folder)
    preprocessor = load_preprocessor(checkpoint, config.load_options())
    if config.instruction:
        preprocessor = preprocessor.instructed(config.instruction)
    if config.prompt_name:
        _check_prompt(config.path, config.prompt_name, preprocessor)
    calibration, digest = None, None
    if preprocessor.info.kind != "reranker":
        digest = _digest(checkpoint, state_folder)
        calibration = _calibration(digest, preprocessor, state_folder)
    return ServedModel(config.id or model_id(config.path), preprocessor, config, calibration, digest)


def _digest(checkpoint: Checkpoint, state_folder: Path | None) -> str | None:
    """The name of the model's files, unless reading them would delay the start and nothing waits for it."""
    checksums = Checksums(state_folder)
    has_calibrations = state_folder is not None and any((state_folder / CALIBRATIONS).glob("*.npz"))
    if not has_calibrations and bytes_to_read(checkpoint, checksums) > READ_AT_START_BYTES:
        return None
    return model_digest(checkpoint, checksums)


def _calibration(digest: str | None, preprocessor: Preprocessor, state_folder: Path | None) -> Calibration | None:
    if state_folder is None or digest is None:
        return None
    return read_calibration(calibration_file(state_folder, digest), preprocessor.info.width)


def _check_prompt(path: str, name: str, preprocessor: Preprocessor) -> None:
    prompts = preprocessor.prompts
    if preprocessor.info.kind == "reranker":
        raise ConfigError(f"{path} is a reranker, and named prompts are for embedders; remove prompt_name: {name}")
    if prompts.find(name) is None:
        names = ", ".join(prompts.by_name) or "none"
        raise ConfigError(f"{path} has no prompt named {name!r} (prompt_name); its prompts are: {names}")
    if not prompts.are_pooled:
        raise ConfigError(
            f"{path} leaves its prompt out of the mean, which is not supported; remove prompt_name: {name}"
        )


def _unique(pairs: Iterable[tuple[str, ServedModel]]) -> dict[str, ServedModel]:
    models: dict[str, ServedModel] = {}
    for name, model in pairs:
        if name in models:
            raise ConfigError(f"two models have the name {name!r}; give one of them another id or alias")
        models[name] = model
    return models


def _groups(models: Sequence[ServedModel], key: Callable[[str], str]) -> Mapping[str, ServedModel]:
    # A key that several models share finds none of them.
    owners: dict[str, dict[str, ServedModel]] = {}
    for model in models:
        for name in model.names:
            owners.setdefault(key(name), {})[model.id] = model
    return {name: next(iter(sharing.values())) for name, sharing in owners.items() if len(sharing) == 1}
