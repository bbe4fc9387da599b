"""The procedures that authors publish for their embedders, by family: tokens around a text, and how states are pooled.

Unlike the reference, they do not depend on what the files of a folder say about it: a post-processor that lost the
terminator, or a Pooling module of another mode, gives other vectors than the authors' code. Sources: the model cards.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import names_of
from models.interface import ModelInfo, Pooling, Row
from models.verify.reference import LOCAL, NoReference, loading, refuse_quantised, torch_dtype


@dataclass(frozen=True, slots=True)
class Procedure:
    """What stands before and after the ids of a text, as spellings of tokens ("" for nothing), and the pooling."""

    before: str
    after: str
    pooling: Pooling


_BERT = Procedure("[CLS]", "[SEP]", "mean")
_BERT_CLS = Procedure("[CLS]", "[SEP]", "cls")
_ROBERTA = Procedure("<s>", "</s>", "mean")
_ROBERTA_CLS = Procedure("<s>", "</s>", "cls")
_MISTRAL = Procedure("<s>", "</s>", "lasttoken")
_QWEN = Procedure("", "<|endoftext|>", "lasttoken")
# By a part of the name, in lower case; the first that matches.
PROCEDURES: tuple[tuple[str, Procedure], ...] = (
    ("qwen3-embedding", _QWEN),
    ("gte-qwen2", _QWEN),
    ("e5-mistral", _MISTRAL),
    ("sfr-embedding", _MISTRAL),
    ("linq-embed", _MISTRAL),
    ("bge-en-icl", _MISTRAL),
    ("bge-multilingual-gemma2", Procedure("<bos>", "<eos>", "lasttoken")),
    ("bge-m3", _ROBERTA_CLS),
    ("bge-", _BERT_CLS),
    ("multilingual-e5-small", _ROBERTA),
    ("multilingual-e5", _ROBERTA),
    ("e5-", _BERT),
    ("gte-modernbert", _BERT_CLS),
    ("gte-", _BERT),
    ("nomic-embed-text-v", _BERT),
    ("all-minilm", _BERT),
    ("all-mpnet", _ROBERTA),
    ("mxbai-embed", _BERT_CLS),
    ("uae-large", _BERT_CLS),
    ("snowflake-arctic-embed-l-v2", _ROBERTA_CLS),
    ("snowflake-arctic-embed", _BERT_CLS),
)


def find_procedure(info: ModelInfo, source: str = "") -> Procedure | None:
    """The procedure of the family that a model's names tell; None for other models.

    Args:
        info: of an embedder.
        source: what its operator calls it, such as a hub id.
    """
    names = f"{source} {names_of(Checkpoint(Path(info.path)))}".lower()
    return next((procedure for part, procedure in PROCEDURES if part in names), None)


class PublishedVectors:
    """A VectorReference that follows a procedure, with the network and the vocabulary of transformers."""

    def __init__(self, info: ModelInfo, procedure: Procedure, dtype: str = "float32") -> None:
        """Load the network.

        Raises: NoReference: the library cannot, or the vocabulary lacks a token of the procedure.
        """
        refuse_quantised(info)
        with loading():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(info.path, **LOCAL)
            self._model: Any = AutoModel.from_pretrained(info.path, **torch_dtype(dtype), **LOCAL).eval()
        self._before, self._after = self._ids_of(procedure.before), self._ids_of(procedure.after)
        self._pooling = procedure.pooling

    def vector(self, text: str) -> Row:
        """The text's vector, [H], not normalised."""
        ids = [*self._before, *self._tokenizer(text, add_special_tokens=False)["input_ids"], *self._after]
        with torch.inference_mode():
            states = self._model(input_ids=torch.tensor([ids], dtype=torch.long)).last_hidden_state[0].float()
        match self._pooling:
            case "lasttoken":
                pooled = states[-1]
            case "cls":
                pooled = states[0]
            case _:
                pooled = states.mean(dim=0)
        return np.asarray(pooled.numpy(), dtype=np.float32)

    def vectors(self, texts: Iterable[str]) -> list[Row]:
        """vector() of each text."""
        return [self.vector(text) for text in texts]

    def _ids_of(self, token: str) -> list[int]:
        if not token:
            return []
        number = self._tokenizer.convert_tokens_to_ids(token)
        if number is None or self._tokenizer.convert_ids_to_tokens(number) != token:
            raise NoReference(f"the vocabulary has no token {token!r}, which its model card puts around a text")
        return [int(number)]
