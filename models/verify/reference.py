"""The reference: the procedures of the model cards, with the libraries that they name, one text at a time on the CPU.

It is slow and simple on purpose, and shares no code with the backends or the tokenizer. `hearth check` and the parity
tests compare with it. Texts must not contain control tokens: the libraries would parse them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import names_of
from models.interface import ModelInfo, Pooling, Row
from models.text.qwen3_prompt import FRAME_PREFIX, FRAME_SUFFIX, prompt_body

LOCAL = {"trust_remote_code": False, "local_files_only": True}


class NoReference(Exception):
    """The reference library cannot load this checkpoint; the message gives the reason."""


class VectorReference(Protocol):
    """Embeds as the authors of the checkpoint do."""

    def vector(self, text: str) -> Row:
        """The text's vector, [H], not normalised."""
        ...


class ScoreReference(Protocol):
    """Reranks as the authors of the checkpoint do."""

    def score(self, instruction: str, query: str, document: str) -> float:
        """How relevant the document is, a probability."""
        ...


def vector_reference(info: ModelInfo, dtype: str = "float32") -> VectorReference:
    """sentence-transformers if the checkpoint has modules.json, else transformers and the model's pooling.

    Raises: NoReference.
    """
    refuse_quantised(info)
    with loading():
        if Checkpoint(Path(info.path)).modules:
            return _SentenceTransformer(info.path, torch_dtype(dtype))
        return _Network(info.path, torch_dtype(dtype), info.pooling)


def score_reference(info: ModelInfo, dtype: str = "float32") -> ScoreReference:
    """Qwen3's procedure for Qwen3, folded head or not; sentence-transformers for other classifiers and chat templates.

    Raises: NoReference.
    """
    refuse_quantised(info)
    with loading():
        checkpoint = Checkpoint(Path(info.path))
        was_saved = checkpoint.sentence_transformers.get("model_type") == "CrossEncoder"
        is_plain = info.model_type != "qwen3" or (was_saved and "qwen3-reranker" not in names_of(checkpoint))
        if info.classifier and is_plain:
            return _CrossEncoder(info.path, torch_dtype(dtype), takes_instruction=False)
        if "LogitScore" in checkpoint.modules and "document" in checkpoint.chat_template:
            return _CrossEncoder(info.path, torch_dtype(dtype), takes_instruction=True)
        return _Framed(info.path, torch_dtype(dtype), classifier=info.classifier)


def refuse_quantised(info: ModelInfo) -> None:
    """Refuse weights that the library does not read exactly.

    Raises: NoReference.
    """
    # transformers derives the blocks of FP8 from shapes, quantises activations, or needs a package for each format.
    if info.quantization and not info.quantization.startswith("mxfp4"):
        raise NoReference(
            f"its weights are quantised ({info.quantization}), which the reference library does not read exactly; "
            "check the checkpoint that it was made from"
        )


def torch_dtype(name: str) -> dict[str, Any]:
    """The argument of from_pretrained() for a dtype."""
    # Named always: transformers 5 would otherwise use the checkpoint's dtype.
    return {"dtype": getattr(torch, name)}


@contextmanager
def loading() -> Iterator[None]:
    """Turn the libraries' errors into NoReference."""
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # the libraries raise exceptions of any class
        line = next(iter(str(error).strip().splitlines()), "no reason given")
        raise NoReference(f"it cannot load this checkpoint: {type(error).__name__}: {line[:200]}") from error


class _SentenceTransformer:
    def __init__(self, path: str, dtype: dict[str, Any]) -> None:
        from sentence_transformers import SentenceTransformer  # 4.9 s to import

        self._model: Any = SentenceTransformer(path, device="cpu", model_kwargs=dtype, **LOCAL)

    def vector(self, text: str) -> Row:
        # An empty prompt, because the library adds a default prompt for some checkpoints.
        rows = self._model.encode([text], prompt="", show_progress_bar=False)
        return np.asarray(rows[0], dtype=np.float32)


class _Network:
    def __init__(self, path: str, dtype: dict[str, Any], pooling: Pooling) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path, **LOCAL)
        self._model: Any = AutoModel.from_pretrained(path, **dtype, **LOCAL).eval()
        self._pooling = pooling

    def vector(self, text: str) -> Row:
        ids = _ids(self._tokenizer, text, special=True)
        with torch.inference_mode():
            states = self._model(input_ids=ids).last_hidden_state[0]
        match self._pooling:
            case "lasttoken":
                pooled = states[-1]
            case "cls":
                pooled = states[0]
            case "mean":
                pooled = states.mean(dim=0)
            case "max":
                pooled = states.max(dim=0).values
        return np.asarray(pooled.float().numpy(), dtype=np.float32)


class _Framed:
    """Qwen3-Reranker README: softmax over the logits of "no" and "yes" at the last position, for "yes"."""

    def __init__(self, path: str, dtype: dict[str, Any], *, classifier: bool) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path, **LOCAL)
        loader = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
        self._model: Any = loader.from_pretrained(path, **dtype, **LOCAL).eval()
        self._classifier = classifier

    def score(self, instruction: str, query: str, document: str) -> float:
        body = prompt_body(instruction, query, document)
        ids = _ids(self._tokenizer, f"{FRAME_PREFIX}{body}{FRAME_SUFFIX}", special=False)
        with torch.inference_mode():
            logits = self._model(input_ids=ids).logits
        if self._classifier:
            return float(torch.sigmoid(logits[0, 0].float()))
        no, yes = (self._tokenizer.convert_tokens_to_ids(token) for token in ("no", "yes"))
        return float(torch.softmax(logits[0, -1, [no, yes]].float(), dim=0)[1])


class _CrossEncoder:
    def __init__(self, path: str, dtype: dict[str, Any], *, takes_instruction: bool) -> None:
        """`takes_instruction`: whether its chat template may have a place for an instruction; a pair has none."""
        from sentence_transformers import CrossEncoder

        self._takes_instruction = takes_instruction
        self._model: Any = CrossEncoder(path, device="cpu", model_kwargs=dtype, **LOCAL)

    def score(self, instruction: str, query: str, document: str) -> float:
        how = {"activation_fn": torch.nn.Sigmoid(), "prompt": instruction if self._takes_instruction else None}
        scores = self._model.predict([(query, document)], show_progress_bar=False, **how)
        return float(scores[0])


def _ids(tokenizer: Any, text: str, *, special: bool) -> torch.Tensor:
    return torch.tensor([tokenizer(text, add_special_tokens=special)["input_ids"]], dtype=torch.long)
