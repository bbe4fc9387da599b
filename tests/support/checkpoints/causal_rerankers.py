"""Causal rerankers as sentence-transformers' CrossEncoder saves them: ids of yes and no, and a chat template."""

import json
from pathlib import Path
from typing import Any

from models import LoadOptions, load_preprocessor
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION, FRAME_PREFIX, FRAME_SUFFIX
from tests.support.checkpoints.qwen3 import build

ROLE = "messages | selectattr('role', 'eq', '{}') | map(attribute='content') | first"
QUERY, DOCUMENT = "{{ " + ROLE.format("query") + " }}", "{{ " + ROLE.format("document") + " }}"
# A causal network of another family than the packed backend's.
QWEN2: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "max_position_embeddings": 1024,
}
TASK = "{{ " + ROLE.format("system") + f" | default('{DEFAULT_INSTRUCTION}')" + " }}"
# Jinja drops the last newline of a template: three, so that two are left.
QWEN3 = f"{FRAME_PREFIX}<Instruct>: {TASK}\n<Query>: {QUERY}\n<Document>: {DOCUMENT}{FRAME_SUFFIX}\n"
# The form of mxbai-rerank-v2: without an instruction, and with text after the document.
OTHER = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    f"query: {QUERY} \ndocument: {DOCUMENT} \nDoes the document answer the query? Relevance:<|im_end|>\n"
    "<|im_start|>assistant\n\n"
)
# The query comes first, and the task directly before the document.
TASKED = f"{{% if true %}}Query: {QUERY}\n{{% endif %}}<|im_start|>Task: {TASK}\nDocument:\n{DOCUMENT}<|im_end|>"


def save_causal(folder: Path, template: str = QWEN3) -> Path:
    """Write a random Qwen3 reranker of this form, under a name that says nothing, and return its folder."""
    build(folder, "reranker")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": ""}), "utf-8")
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    info = load_preprocessor(folder, LoadOptions(kind="reranker")).info
    assert info.no_yes
    name = "sentence_transformers.{}"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": name.format("base.modules.transformer.Transformer")},
        {
            "idx": 1,
            "name": "1",
            "path": "1_LogitScore",
            "type": name.format("cross_encoder.modules.logit_score.LogitScore"),
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "1_LogitScore").mkdir()
    ids = {"false_token_id": info.no_yes[0], "true_token_id": info.no_yes[1]}
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(ids), "utf-8")
    return folder
