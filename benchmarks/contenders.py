"""Ways to turn a workload into vectors: the packed backend, and the two libraries as people use them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.workloads import Ids, Workload
from models import Backend, Item, Readout

Matrix = NDArray[np.float32]
Contender = Callable[[Workload], Matrix]

# What a server would put in one forward on a CPU; a GPU takes 16 times as many.
BATCH_TOKENS = 1024
VECTOR = Readout("vector")


def packed(backend: Backend) -> Contender:
    """The packed backend, cut into batches as a server cuts them: by unique tokens, in order."""

    def run(workload: Workload) -> Matrix:
        rows = []
        *before, last = batches(workload.ids)
        for batch in before:
            rows += backend.launch([Item(ids, VECTOR) for ids in batch], more_follow=True).rows()
        rows += backend.launch([Item(ids, VECTOR) for ids in last]).rows()
        return np.stack(rows)

    return run


def batches(texts: Sequence[Ids]) -> list[list[Ids]]:
    """Texts in order, up to BATCH_TOKENS of new tokens at a time."""
    cut: list[list[Ids]] = [[]]
    room = BATCH_TOKENS
    for number, ids in enumerate(texts):
        before = texts[number - 1] if number else ids[:0]
        same = min(len(before), len(ids))
        differs = np.flatnonzero(before[:same] != ids[:same])
        new = len(ids) - (int(differs[0]) if len(differs) else same)
        if cut[-1] and new > room:
            cut.append([])
            room = BATCH_TOKENS
        cut[-1].append(ids)
        room -= new
    return cut


def transformers_padded(folder: Path, batch: int) -> Contender:
    """The library's network over right-padded batches in the order given."""
    import transformers

    network = transformers.AutoModel.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def run(workload: Workload) -> Matrix:
        rows = []
        for first in range(0, len(workload.ids), batch):
            part = [torch.from_numpy(ids).long() for ids in workload.ids[first : first + batch]]
            lengths = torch.tensor([len(ids) for ids in part])
            tokens = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
            hidden = network(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
            rows.append(hidden[torch.arange(len(part)), lengths - 1].float().numpy())
        return np.concatenate(rows)

    return run


def sentence_transformers(folder: Path) -> Callable[[int], Contender]:
    """SentenceTransformer.encode, by batch size; it sorts by length itself."""
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.bfloat16})

    def of(batch: int) -> Contender:
        return lambda workload: np.asarray(
            model.encode(list(workload.texts), batch_size=batch, convert_to_numpy=True, show_progress_bar=False)
        )

    return of
