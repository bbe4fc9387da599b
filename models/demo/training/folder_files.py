"""The files around the weights: sentence-transformers modules and prompts; and the replacement of a finished folder."""

import json
import shutil
from pathlib import Path

QUERY_PROMPT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
_POOLING = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]


def write_json(path: Path, value: object) -> None:
    """Write indented JSON that ends with a newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_modules(folder: Path, *, width: int) -> None:
    """The modules of Qwen3-Embedding: Transformer, pooling of the last token, unit length."""
    prefix = "sentence_transformers.models"
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"{prefix}.{kind}"}
        for index, (path, kind) in enumerate(steps)
    ]
    write_json(folder / "modules.json", modules)
    pooling: dict[str, object] = {"word_embedding_dimension": width}
    pooling |= {f"pooling_mode_{mode}": mode == "lasttoken" for mode in _POOLING}
    write_json(folder / "1_Pooling" / "config.json", pooling | {"include_prompt": True})
    prompts = {"prompts": {"query": QUERY_PROMPT, "document": ""}, "default_prompt_name": None}
    write_json(folder / "config_sentence_transformers.json", prompts | {"similarity_fn_name": "cosine"})


def replace_folder(fresh: Path, place: Path) -> None:
    """Move a finished folder to a place where an older one may be; readers see either the old one or the new one."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)
