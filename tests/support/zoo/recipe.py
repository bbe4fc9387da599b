"""What a published model's folder looks like, as data: its configuration in full, and the sizes of its small twin."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.zoo.tokenizers.vocabularies import Vocabulary

JsonObject = Mapping[str, Any]
SavedAs = Literal["AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "T5EncoderModel"]
Kind = Literal["embedder", "reranker", "llm"]
RunsAs = Literal["packed", "unpadded", "padded", "sentence_transformers"]

CONFIGS = Path(__file__).with_name("configs")


@dataclass(frozen=True, slots=True)
class Modules:
    """A repository's modules.json and the files that it points to."""

    pooling: Literal["cls", "mean", "lasttoken", "max"]
    normalize: bool
    max_seq_length: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    dense: tuple[tuple[int, int], ...] = ()  # (in, out) of each Dense module, without bias or activation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """How to write a folder with a model's architecture and file layout, at reduced size, with random weights.

    `config`: config.json as published, in full. `reduced`: the entries that the small twin changes.
    `native`: the same network in the form that the library's class reads, if the published form differs.
    `seed_name`: its name in seed_models.txt; None for a relative that is not listed there.
    """

    name: str
    config: JsonObject
    reduced: JsonObject
    vocabulary: Vocabulary
    saved_as: SavedAs = "AutoModel"
    native: JsonObject | None = None
    native_reduced: JsonObject = field(default_factory=dict)
    modules: Modules | None = None
    seed_name: str | None = None
    kind: Kind = "embedder"
    runs_as: RunsAs = "unpadded"
    max_tokens: int = 512
    dimensions: bool = True
    quantised: Literal["mxfp4", "fp8"] | None = None
    card_query: str | None = None  # the query prompt of its model card, where its files have none

    @property
    def width(self) -> int:
        """Hidden size of the published network."""
        return _width(self.full_native)

    @property
    def small_width(self) -> int:
        """Hidden size of the small twin's network."""
        return _width(self.small_native)

    @property
    def query_prompt(self) -> str | None:
        """The text before a query, from its files or its model card."""
        return (self.modules.prompts.get("query") if self.modules else None) or self.card_query

    @property
    def small(self) -> dict[str, Any]:
        """config.json of the small twin."""
        return {**self.config, **self.reduced}

    @property
    def small_native(self) -> dict[str, Any]:
        """The small twin's configuration as the library's class reads it."""
        return self.small if self.native is None else {**self.native, **self.native_reduced}

    @property
    def full_native(self) -> JsonObject:
        """The published model's configuration as the library's class reads it."""
        return self.config if self.native is None else self.native


def published(name: str) -> JsonObject:
    """Read a published config.json from configs/."""
    config: JsonObject = json.loads((CONFIGS / f"{name}.json").read_text("utf-8"))
    return config


def _width(config: JsonObject) -> int:
    return int(config.get("hidden_size") or config["d_model"])
