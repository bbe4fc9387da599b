"""The results of sentence-transformers and transformers, in float32, one text at a time, without Hearth."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from tests.support.zoo.recipe import Recipe
from tests.support.zoo.tokenizers.tiktoken_files import convert

Matrix = NDArray[np.float64]

# Qwen3-Reranker's README, "Transformers usage".
BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
BODY = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


def readable(recipe: Recipe, folder: Path) -> Path:
    """Return a folder that the libraries read: the same, or a copy with the configuration in their form."""
    if recipe.native is None:
        return folder
    twin = folder.parent / "in-the-librarys-form" / folder.name
    shutil.copytree(folder, twin)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    fitted = {key: config[key] for key in recipe.small_native if key in config and key not in recipe.native_reduced}
    native = {**recipe.small_native, **fitted, "model_type": recipe.small_native["model_type"]}
    native.pop("quantization_config", None)
    (twin / "config.json").write_text(json.dumps(native), "utf-8")
    if (twin / "tiktoken.model").is_file():
        convert(twin)
    return twin


def vectors(folder: Path, texts: Sequence[str]) -> Matrix:
    """Return sentence-transformers' vectors, with the folder's own modules; an LLM's are its last token's states."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True)
    # Llama's tokenizer has no padding token, and the library pads even a single text.
    model.tokenizer.pad_token = model.tokenizer.pad_token or model.tokenizer.eos_token
    rows = [model.encode([text], show_progress_bar=False)[0] for text in texts]
    return np.stack(rows).astype(np.float64)


def token_logits(folder: Path, texts: Sequence[str]) -> Matrix:
    """Return the logits of the whole vocabulary after each text's last token."""
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [network(**tokenizer(text, return_tensors="pt")).logits[0, -1].numpy() for text in texts]
    return np.stack(rows).astype(np.float64)


def scores(folder: Path, query: str, documents: Sequence[str]) -> Matrix:
    """Return probabilities, from a language model's yes and no or from a classifier's single logit."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["model_type"] != "qwen3":
        return _cross_encoder(folder, query, documents)
    prompts = [
        f"{BEFORE}{BODY.format(instruction=INSTRUCTION, query=query, document=document)}{AFTER}"
        for document in documents
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(prompt, return_tensors="pt", add_special_tokens=False) for prompt in prompts]
    if config["architectures"][0].endswith("ForCausalLM"):
        return _yes_no(folder, ids, *(tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes")))
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return np.array([torch.sigmoid(network(**encoded).logits[0, 0].double()).item() for encoded in ids])


def _yes_no(folder: Path, prompts: Sequence[Any], no: int, yes: int) -> Matrix:
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = [network(**encoded).logits[0, -1].double() for encoded in prompts]
    return np.array([torch.softmax(row[[no, yes]], dim=0)[1].item() for row in logits])


def _cross_encoder(folder: Path, query: str, documents: Sequence[str]) -> Matrix:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True)
    sigmoid = torch.nn.Sigmoid()
    rows = [
        model.predict([(query, document)], activation_fn=sigmoid, show_progress_bar=False)[0] for document in documents
    ]
    return np.array(rows, dtype=np.float64)
