"""What a folder or repository is that holds no model which can be served, and what to do about it. One clause each."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from models.selection import INDEX, WEIGHTS

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What trainers leave beside a model.
_NO_MODEL = ("optimizer", "rng_state", "scaler", "scheduler", "training_args")
OTHER_FORMATS = (".onnx", ".h5", ".msgpack", ".tflite", ".ot", ".npz", ".mlpackage")
ADAPTER = "adapter_config.json"
_SNAPSHOTS = "snapshots"


def what_it_is(names: Collection[str], adapter: Mapping[str, object] | None = None) -> str | None:
    """A clause by the names of the files; None when they say nothing.

    Args:
        names: of all files, by their paths below the folder.
        adapter: adapter_config.json, when there is one and it was read.
    """
    if WEIGHTS in names or INDEX in names:
        return None
    if ADAPTER in names:
        base = (adapter or {}).get("base_model_name_or_path") or "its base model"
        return (
            f"it is a PEFT adapter without the model that it adapts, {base}; merge the two and serve the result: "
            "model.merge_and_unload().save_pretrained(...), and tokenizer.save_pretrained(...) beside it"
        )
    if found := _first(names, (".gguf",)):
        return f"its weights are GGUF, which is llama.cpp's format ({found}); take the model's safetensors version"
    if found := _first(names, PICKLES):
        return (
            f"its weights are pickles, which can run code when they are read ({found}); "
            "take the model's safetensors version, or make one: AutoModel.from_pretrained(...).save_pretrained(...)"
        )
    if found := _first(names, OTHER_FORMATS):
        return f"its weights are in another format ({found}); take the model's safetensors version"
    return None


def where_it_may_be(folder: Path) -> str | None:
    """A clause for a folder whose model lies one level deeper, as in the hub's cache."""
    snapshots = folder / _SNAPSHOTS
    below = sorted(path.parent for path in (snapshots if snapshots.is_dir() else folder).glob("*/config.json"))
    below = [path for path in below if not re.fullmatch(r"\d+_\w+", path.name)]
    return f"models may be in: {', '.join(map(str, below[:3]))}" if below else None


def _first(names: Collection[str], endings: tuple[str, ...]) -> str | None:
    return min((name for name in names if name.endswith(endings) and not name.startswith(_NO_MODEL)), default=None)
