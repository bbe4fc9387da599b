"""What one batch may cost on a GPU: kernels, copies, pinned buffers and waits of launch(), for each workload.

    python -m tests.gpu_rehearsal.budgets

The program lowers the numbers of budgets.json to what is counted, and never raises one. It counts on the simulated GPU
with the shapes of real models and without their numbers, so it says nothing about time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.support.token_ids import Texts, mixed, pairs, prose, random_texts
from models import Backend, BackendInfo, Item, Readout
from models.backends.encoder import EncoderBackend
from models.backends.packed import PackedBackend
from models.layers.attention import sharing_costs
from models.layers.pooler import LanguageModelHead
from models.layers.sequence_attention import Rule, SequenceLayout
from models.networks.bert import Bert
from models.networks.bert_config import BertConfig
from models.networks.fused.qwen3_fused import FusedQwen3
from models.networks.qwen3 import Qwen3
from models.networks.qwen3_config import Qwen3Config
from models.networks.weights import Weights
from tests.support.simulated_cuda.device import Counts
from tests.support.simulated_cuda.install import install
from tests.support.simulated_cuda.kernels import SimulatedKernels
from tests.support.simulated_cuda.tensor import CUDA, GPU

TABLE = Path(__file__).with_suffix(".json")
COSTS = ("kernels", "copies_in", "copies_out", "pinned_buffers", "waits")
TABLE_ROWS, NO_YES = 151669, (2152, 9693)

Budget = dict[str, int]


class EmptyWeights:
    """Weights of any name and shape."""

    device, dtype = CUDA, torch.bfloat16

    def take(self, _: str, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device, dtype=self.dtype)

    def merge(self, _: Sequence[str], rows: Sequence[int], *rest: int) -> Tensor:
        return self.take("", sum(rows), *rest)


def _about(name: str) -> BackendInfo:
    return BackendInfo(name, "", "cuda", "bfloat16", 0)


def qwen3() -> Backend:
    """Qwen3 0.6B, with a head for scores."""
    config = Qwen3Config(1024, 3072, 28, 16, 8, 128, 1e-6, 1e6)
    network = FusedQwen3(Qwen3(config, cast("Weights", EmptyWeights()), TABLE_ROWS), SimulatedKernels())
    head = LanguageModelHead(network.embed_tokens, device=CUDA, no_yes=NO_YES)
    costs = sharing_costs(CUDA, parameters=440_401_920, layers=28, hidden_size=1024, head_numbers=16 * 128, fused=True)
    about = _about("packed")
    return PackedBackend(
        network, head, None, about, pooling="lasttoken", device=CUDA, dtype=torch.bfloat16, costs=costs
    )


def minilm() -> Backend:
    """The shape of all-MiniLM-L6-v2."""
    config = BertConfig(384, 1536, 6, 12, 30522, 512, 2, 1e-12)
    network = Bert(config, cast("Weights", EmptyWeights()))
    return EncoderBackend(network, None, _about("encoder"), "mean", CUDA, torch.bfloat16)


WORKLOADS: Mapping[str, tuple[Callable[[], Backend], Readout, Texts]] = {
    "qwen3 0.6B, one text of 16 tokens": (qwen3, Readout("vector"), random_texts(1, 16)),
    "qwen3 0.6B, 32 texts of 512 tokens": (qwen3, Readout("vector"), random_texts(32, 512)),
    "qwen3 0.6B, 512 texts of 32 tokens": (qwen3, Readout("vector"), random_texts(512, 32)),
    "qwen3 0.6B, 512 texts of 32 tokens as in prose": (qwen3, Readout("vector"), prose(512, 32)),
    "qwen3 0.6B, 64 texts of mixed lengths": (qwen3, Readout("vector"), mixed(64)),
    "qwen3 0.6B, one query with 100 documents": (qwen3, Readout("score"), pairs(100)),
    "minilm, one text of 16 tokens": (minilm, Readout("vector"), random_texts(1, 16)),
    "minilm, 64 texts of mixed lengths": (minilm, Readout("vector"), mixed(64)),
}


def count(workload: str) -> Counts:
    """The costs of one launch() that is not the first."""
    make, readout, texts = WORKLOADS[workload]
    items = [Item(ids, readout) for ids in texts]
    _check_kernels_of_minilm()
    with GPU.shapes_only():
        backend = make()
        backend.launch(items).rows()
        with GPU.counting() as counts:
            backend.launch(items)
        torch.cuda.synchronize()
    return counts


def _check_kernels_of_minilm() -> None:
    # Before its first use a kernel is compared with the slow way, which needs numbers.
    heads = torch.zeros(1, 12, 4, 32, device=CUDA, dtype=torch.bfloat16)
    SequenceLayout([4], CUDA).attend(heads, heads, heads, Rule(causal=False))


def budget_of(counts: Counts) -> Budget:
    costs: dict[str, Any] = {name: getattr(counts, name) for name in COSTS}
    return costs | {"waits": len(counts.waits)}


def read_table() -> dict[str, Budget]:
    return dict(json.loads(TABLE.read_text("utf-8")))


def lowered(table: Mapping[str, Budget], counted: Mapping[str, Budget]) -> dict[str, Budget]:
    """The table with each number at most as high as before; a workload that is new gets what is counted."""
    return {
        workload: {name: min(cost, table.get(workload, budget).get(name, cost)) for name, cost in budget.items()}
        for workload, budget in counted.items()
    }


def main() -> None:
    install()
    counted = {workload: budget_of(count(workload)) for workload in WORKLOADS}
    table = lowered(read_table() if TABLE.exists() else {}, counted)
    rows = [f"  {json.dumps(workload)}: {json.dumps(budget)}" for workload, budget in table.items()]
    TABLE.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
