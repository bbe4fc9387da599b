"""The served models by name: every spelling that clients use finds its model, and only one."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from models import Kind, Preprocessor, find_checkpoint, load_preprocessor, model_id
from server.config import ConfigError, ModelConfig
from server.errors import InvalidValue, ModelNotFound

_PREFIXES = re.compile(r"^(?:fireworks_ai/|fireworks/|accounts/[^/]+/models/)+")
MAX_NAME_CHARACTERS = 512
_POINT = re.compile(r"(?<=\d)p(?=\d)")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model with its text side and how it is configured."""

    id: str
    preprocessor: Preprocessor
    config: ModelConfig

    @property
    def kind(self) -> Kind:
        """embedder, reranker or llm."""
        return self.preprocessor.info.kind

    @property
    def names(self) -> tuple[str, ...]:
        """The id and every alias."""
        return (self.id, *self.config.aliases)


class ModelRegistry:
    """All served models. Fixed for the life of the process."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.models = tuple(models)
        self.created = int(time.time())
        self._exact = _unique((name, model) for model in models for name in model.names)
        self._normal = _groups(models, normalise)
        self._last = _groups(models, lambda name: normalise(name).rsplit("/", 1)[-1])

    def find(self, name: str | None, default: Kind) -> ServedModel:
        """The model that a request means; the default of `default`'s kind when it names none.

        Raises: ModelNotFound.
        """
        if not name:
            return self._default(default)
        if len(name) > MAX_NAME_CHARACTERS:
            raise InvalidValue("model", f"expected at most {MAX_NAME_CHARACTERS} characters.")
        if model := self._exact.get(name):
            return model
        normal = normalise(name)
        if model := self._normal.get(normal) or self._last.get(normal.rsplit("/", 1)[-1]):
            return model
        raise ModelNotFound(name, [model.id for model in self.models])

    def _default(self, kind: Kind) -> ServedModel:
        # A causal LLM gives vectors too, so it stands in where no embedder is served.
        for wanted in (kind, "llm") if kind == "embedder" else (kind,):
            for model in self.models:
                if model.kind == wanted:
                    return model
        raise ModelNotFound(f"(default {kind})", [model.id for model in self.models])


def load_registry(configs: Sequence[ModelConfig]) -> ModelRegistry:
    """Find and read every configured model's text side.

    Raises: ModelError, ConfigError.
    """
    return ModelRegistry([_load(config) for config in configs])


def normalise(name: str) -> str:
    """A model name without the decorations of clients: `fireworks/qwen3-embedding-0p6b` -> `qwen3-embedding-0.6b`."""
    name = name.split("#", 1)[0]
    name = _PREFIXES.sub("", name)
    return _POINT.sub(".", name.lower())


def _load(config: ModelConfig) -> ServedModel:
    folder = find_checkpoint(config.path, config.revision)
    text = load_preprocessor(folder, config.load_options())
    if config.instruction:
        text = text.instructed(config.instruction)
    if config.prompt_name:
        _check_prompt(config, text)
    return ServedModel(config.id or model_id(config.path), text, config)


def _check_prompt(config: ModelConfig, text: Preprocessor) -> None:
    if text.info.kind == "reranker":
        raise ConfigError(f"{config.path} is a reranker, which puts no named prompt before texts: remove prompt_name")
    if text.prompts.find(config.prompt_name or "") is None:
        known = ", ".join(text.prompts.by_name) or "none"
        raise ConfigError(f"{config.path} has no prompt {config.prompt_name!r} for prompt_name; it has: {known}")
    if not text.prompts.are_pooled:
        raise ConfigError(f"{config.path} leaves its prompt out of the mean, which is not served: remove prompt_name")


def _unique(pairs: Iterable[tuple[str, ServedModel]]) -> dict[str, ServedModel]:
    found: dict[str, ServedModel] = {}
    for name, model in pairs:
        if name in found:
            raise ConfigError(f"two models are served under one name; give one of them another id: {name}")
        found[name] = model
    return found


def _groups(models: Sequence[ServedModel], key: Callable[[str], str]) -> Mapping[str, ServedModel]:
    # A key that several models share names none of them.
    owners: dict[str, dict[str, ServedModel]] = {}
    for model in models:
        for name in model.names:
            owners.setdefault(key(name), {})[model.id] = model
    return {name: next(iter(found.values())) for name, found in owners.items() if len(found) == 1}
