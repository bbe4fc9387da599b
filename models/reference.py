"""The reference: the model cards' own procedures with the transformers library, float32, one text at a time.

Slow and plain on purpose; it shares no code with the backends or with our tokenizer. `hearth check` and the parity
tests compare with it.
"""

import numpy as np
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from models.interface import Kind, Pooling, Row
from models.prompts import PREFIX, SUFFIX


class Reference:
    """One checkpoint as its authors run it. Texts must not spell control tokens: the library would parse them."""

    def __init__(self, path: str, kind: Kind, pooling: Pooling) -> None:
        logging.disable_progress_bar()
        self._tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        loader = AutoModelForCausalLM if kind == "reranker" else AutoModel
        # transformers 5 would otherwise take the checkpoint's own dtype.
        self._model = loader.from_pretrained(path, dtype=torch.float32, trust_remote_code=False).eval()
        self._pooling = pooling

    def vector(self, text: str) -> Row:
        """Qwen3-Embedding README: the last token's state after the final norm, not normalised, [H]."""
        ids = self._ids(text, special=True)
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
        return np.asarray(pooled.numpy(), dtype=np.float32)

    def score(self, instruction: str, query: str, document: str) -> float:
        """Qwen3-Reranker README: softmax over the logits of "no" and "yes" at the last position, for "yes"."""
        body = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
        parts = [self._ids(text, special=False) for text in (PREFIX, body, SUFFIX)]
        with torch.inference_mode():
            logits = self._model(input_ids=torch.cat(parts, dim=1)).logits[0, -1]
        no, yes = (self._tokenizer.convert_tokens_to_ids(token) for token in ("no", "yes"))
        pair = torch.stack((logits[no], logits[yes]))
        return float(torch.softmax(pair.float(), dim=0)[1])

    def _ids(self, text: str, *, special: bool) -> torch.Tensor:
        ids = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        return torch.tensor([ids], dtype=torch.long)
