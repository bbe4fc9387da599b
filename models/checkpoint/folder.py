"""Reads and checks the files of one checkpoint folder. No torch: of tensors, only names and shapes are read."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.checkpoint.files import (
    ADAPTER,
    INDEX,
    WEIGHTS,
    JsonObject,
    check_regular_files,
    check_weight_file,
    explain_missing_weights,
    explain_wrapped_names,
    is_model_file,
    names_in,
    open_file,
    quoted,
    read_json_file,
    read_text_file,
    suggest_subfolders,
    whole_number,
    why_no_place,
)
from models.checkpoint.formats.gguf import GgufFile, find_gguf, read_gguf
from models.checkpoint.formats.gguf_model import gguf_config, gguf_tokenizer_config, plan_gguf
from models.checkpoint.formats.plan import Plan, Shape, Stored, StoredTensor
from models.checkpoint.formats.registry import make_plan
from models.checkpoint.manifest import Manifest, read_manifest
from models.interface import ModelError

# safetensors, "Format": the length of the header, then the header in JSON.
HEADER_LENGTH_BYTES = 8
HEADER_METADATA = "__metadata__"
# Names of the token table in the supported architectures.
TABLE_NAMES = (
    *("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "tok_embeddings.weight"),
    "shared.weight",  # T5
)
# sentence-transformers, Transformer.load_config: the names that its file may have, in the order of the search.
TRANSFORMER_CONFIG_NAMES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")


@dataclass(frozen=True)
class Checkpoint:
    """A folder in Hugging Face layout. Each file is read once and its content is shared: do not modify it.

    Later changes to a file are not seen; make a new Checkpoint after files were added.

    ignored: entries of config.json that are read as if they were not there.
    """

    path: Path
    ignored: frozenset[str] = frozenset()
    _parsed: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check(self) -> None:
        """Refuse a folder that lacks what every model has.

        Raises: ModelError: config.json or the weights are missing or damaged.
        """
        check_regular_files(self.path)
        if self._optional("config.json") is None and self.gguf is None:
            self._refuse_inner_network()
            raise self._no_model(names_in(self.path), "missing: config.json")
        if not self.config or not self.tensors:
            raise self._no_model(names_in(self.path), "its config.json or weights are empty")
        if needless := sorted(self.ignored - self._object_or_none("config.json").keys()):
            raise ModelError(f"{self.path}/config.json has no entry that `ignore_entries` names: {', '.join(needless)}")
        if clause := explain_wrapped_names(self.tensors):
            raise ModelError(f"{self.path} {clause}")
        if self._optional(ADAPTER) is not None:
            raise ModelError(
                f"{self.path} holds a whole model and an adapter ({ADAPTER}), and does not say which is meant; to "
                "serve the adapted model, merge the two: model.merge_and_unload().save_pretrained(...); "
                f"to serve the model alone, remove {ADAPTER}"
            )
        if (layers := self.number("num_hidden_layers")) > len(self.tensors):
            count = len(self.tensors)
            raise ModelError(f"{self.path} holds {count} tensors, too few for the {layers} layers of its config.json")

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest that `hearth pull` wrote; None if there is none."""
        return read_manifest(self.path)

    @cached_property
    def config(self) -> JsonObject:
        if self._optional("config.json") is None and self.gguf is not None:
            return gguf_config(self.gguf)
        return {key: value for key, value in self._object("config.json").items() if key not in self.ignored}

    @cached_property
    def gguf(self) -> GgufFile | None:
        """The header of the GGUF file that holds the weights; None if they are safetensors.

        Raises: ModelError: the folder holds several, or the file is damaged or of a type that is not supported.
        """
        file = find_gguf(self.path)
        return None if file is None else read_gguf(file)

    @property
    def model_type(self) -> str:
        """The architecture's short name, as transformers spells it."""
        return str(self.config.get("model_type") or "")

    @property
    def architecture(self) -> str:
        """The first class that config.json names, or "unknown"."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else "unknown"

    def number(self, key: str) -> int:
        """A whole number from config.json; 0 if the key is missing."""
        return whole_number(self.config.get(key), key, self.path / "config.json")

    @property
    def module_types(self) -> list[str]:
        """Full class names in modules.json (sentence-transformers), in order; empty if there is no such file."""
        return [str(module["type"]) for module in self._modules]

    @property
    def module_paths(self) -> list[tuple[str, str]]:
        """Short class names in modules.json, each with its folder relative to this one."""
        return [(str(module["type"]).rsplit(".", 1)[-1], str(module.get("path", ""))) for module in self._modules]

    @property
    def modules(self) -> list[str]:
        """Short class names in modules.json."""
        return [name for name, _ in self.module_paths]

    @cached_property
    def pooling(self) -> JsonObject:
        """The configuration of the Pooling module; empty if there is none."""
        for name, path in self.module_paths:
            if name == "Pooling":
                return self._object(f"{path}/config.json")
        return {}

    def config_of(self, path: str) -> JsonObject:
        """The config.json of a module's folder below this one; empty if there is none."""
        return self._object_or_none(f"{path}/config.json") if path else {}

    @cached_property
    def sentence_transformers(self) -> JsonObject:
        """config_sentence_transformers.json; empty if there is no such file."""
        return self._object_or_none("config_sentence_transformers.json")

    @cached_property
    def prompts(self) -> dict[str, str]:
        """Named prompts of config_sentence_transformers.json; null becomes ""."""
        prompts = self.sentence_transformers.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
            raise ModelError(f"{self.path}/config_sentence_transformers.json must map each name in prompts to a text")
        return {name: text or "" for name, text in prompts.items()}

    @cached_property
    def tokenizer_config(self) -> JsonObject:
        """tokenizer_config.json; what a GGUF file says in its place, or empty if there is neither."""
        if self._optional("tokenizer_config.json") is None and self.gguf is not None:
            return gguf_tokenizer_config(self.gguf)
        return self._object_or_none("tokenizer_config.json")

    @cached_property
    def chat_template(self) -> str:
        """The chat template, from either place where transformers stores one; "" if there is none."""
        text = read_text_file(self.path / "chat_template.jinja")
        if text is not None:
            return text
        template = self.tokenizer_config.get("chat_template") or ""
        if isinstance(template, list):
            # Several by name, as Command R has them: transformers takes the one named default.
            templates = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = templates.get("default") or ""
        return str(template)

    @cached_property
    def transformer_module_config(self) -> JsonObject:
        """The configuration of the Transformer module, under any of its file names; empty if there is none."""
        return next(
            filter(None, (self._object_or_none(f"sentence_{name}_config.json") for name in TRANSFORMER_CONFIG_NAMES)),
            {},
        )

    @cached_property
    def tensors(self) -> dict[str, Shape]:
        """Names and shapes of all weights as a network has them: quantised ones as they are when they are read.

        Raises: ModelError: a file is damaged, or the weights are quantised in a way that is not supported.
        """
        return self.plan.plain(self._stored) if self.plan else {name: it.shape for name, it in self._headers.items()}

    @property
    def parameters(self) -> int:
        """How many numbers the weights are, without scales and zero points."""
        return sum(math.prod(shape) for shape in self.tensors.values())

    @cached_property
    def plan(self) -> Plan | None:
        """How stored tensors become weights; None if each one is a plain weight.

        Raises: ModelError: as of `tensors`.
        """
        if self.gguf is not None:
            return plan_gguf(self.gguf, has_config=self._optional("config.json") is not None)
        return make_plan(self.config, self._stored)

    @property
    def _stored(self) -> Stored:
        return Stored(self.path, self._headers, self._read_tensor)

    @cached_property
    def _headers(self) -> dict[str, "_Header"]:
        if self.gguf is not None:
            file = self.gguf.path
            return {
                name: _Header(tensor.ggml_type, tensor.shape, file, tensor.start, tensor.end)
                for name, tensor in self.gguf.tensors.items()
            }
        headers: dict[str, _Header] = {}
        for file in self.weight_files:
            headers.update(_read_header(file))
        return headers

    def _read_tensor(self, name: str) -> bytes:
        header = self._headers[name]
        with open_file(header.file) as stream:
            stream.seek(header.start)
            return stream.read(header.end - header.start)

    @cached_property
    def weight_files(self) -> list[Path]:
        """The safetensors files, or the GGUF file.

        Raises: ModelError: some are missing, or the weights have another format.
        """
        if self.gguf is not None:
            return [self.gguf.path]
        present = [name for name in names_in(self.path) if (self.path / name).is_file()]
        return [self.path / name for name in self.weight_names(present)]

    def weight_names(self, present: Collection[str]) -> list[str]:
        """The safetensors files, all of which must be in `present`, the files of the folder or its source.

        A whole model.safetensors comes before an index, as in transformers: the index is left over.

        Raises: ModelError: some are missing, or the weights have another format.
        """
        # Not cached: the index of a large model names a hundred thousand tensors.
        index = read_json_file(self.path / INDEX) if WEIGHTS not in present else None
        names = self._indexed(index) if index is not None else [WEIGHTS]
        missing = [name for name in names if name not in present]
        if missing and index is None:
            raise self._no_model(present, f"missing: {WEIGHTS}")
        if missing:
            raise ModelError(f"{self.path} lacks weight files: {', '.join(missing)}")
        return names

    @property
    def table(self) -> tuple[int, ...]:
        """Shape of the token table, (rows, width).

        Raises: ModelError: there is none.
        """
        for name, shape in self.tensors.items():
            if name.endswith(TABLE_NAMES):
                return shape
        raise ModelError(f"{self.path} has no token table; looked for: {', '.join(TABLE_NAMES)}")

    @property
    def tied(self) -> bool:
        """Whether the head and the token table are the same tensor."""
        return bool(self.config.get("tie_word_embeddings", "lm_head.weight" not in self.tensors))

    @cached_property
    def _modules(self) -> list[JsonObject]:
        modules = self._optional("modules.json")
        if modules is None:
            return []
        if not isinstance(modules, list) or not all(
            isinstance(module, dict) and {"type", "path"} <= set(module) for module in modules
        ):
            raise ModelError(f"{self.path / 'modules.json'} must be a list of modules, each with type and path")
        # The manifest does not cover files outside the folder.
        for path in (str(module["path"]) for module in modules):
            if reason := why_no_place(path):
                raise ModelError(f"{self.path / 'modules.json'} lists a module {reason}: {quoted(path)}")
        return modules

    def _indexed(self, index: object) -> list[str]:
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ModelError(f"{self.path / INDEX} must map each tensor to a file in weight_map")
        for name in set(names.values()):
            if reason := why_no_place(name):
                raise ModelError(f"{self.path / INDEX} lists a file {reason}: {quoted(name)}")
        return sorted(set(names.values()))

    def _refuse_inner_network(self) -> None:
        for _, path in self.module_paths[:1]:
            if (self.path / path / "config.json").exists():
                raise ModelError(
                    f"{self.path} keeps its network in {path}/, as early versions of sentence-transformers did; move "
                    'its files up into the folder, and set the path of that module in modules.json to ""'
                )

    def _no_model(self, names: Collection[str], otherwise: str) -> ModelError:
        adapter = self._optional(ADAPTER)
        clause = explain_missing_weights(names, adapter if isinstance(adapter, dict) else None)
        if not clause and not any(map(is_model_file, names)):
            clause = suggest_subfolders(self.path) or (None if names else "it is empty")
        return ModelError(f"{self.path} holds no model that can be served; {clause or otherwise}")

    def _object(self, name: str) -> JsonObject:
        if self._optional(name) is None:
            raise ModelError(f"{self.path} holds no model that can be served; missing: {name}")
        return self._object_or_none(name)

    def _object_or_none(self, name: str) -> JsonObject:
        content = self._optional(name)
        if content is not None and not isinstance(content, dict):
            raise ModelError(f"{self.path / name} must hold a JSON object")
        return content or {}

    def _optional(self, name: str) -> object:
        if name not in self._parsed:
            self._parsed[name] = read_json_file(self.path / name)
        return self._parsed[name]


@dataclass(frozen=True, slots=True)
class _Header(StoredTensor):
    """Where the numbers of a tensor lie: from byte `start` of a file to before byte `end`."""

    file: Path
    start: int
    end: int


def _read_header(file: Path) -> dict[str, _Header]:
    check_weight_file(file)
    try:
        with safe_open(file, framework="numpy"):  # it checks the whole header
            pass
    except SafetensorError as error:
        raise ModelError(f"{file} is damaged or not a safetensors file: {error}") from error
    # Its objects for the tensors are slow to make: a mixture of experts has 100,000.
    with open_file(file) as stream:
        size = int.from_bytes(stream.read(HEADER_LENGTH_BYTES), "little")
        entries = json.loads(stream.read(size))
    data = HEADER_LENGTH_BYTES + size
    return {
        name: _Header(
            str(entry["dtype"]), tuple(entry["shape"]), file, *(data + place for place in entry["data_offsets"])
        )
        for name, entry in entries.items()
        if name != HEADER_METADATA
    }
