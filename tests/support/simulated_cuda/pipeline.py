"""The real scheduling rule in virtual time, on a GPU whose times are modelled from the kernels that were counted.

    python -m tests.support.simulated_cuda.pipeline

The program writes benchmarks/results/gpu-rehearsal.md. It is a model: nothing here was run on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.simulation.arrivals import Arrival
from benchmarks.simulation.figures import percentiles
from benchmarks.simulation.policies import OURS
from benchmarks.simulation.virtual import Device, Run, simulate
from benchmarks.support.report import RESULTS, Rows, markdown, show, write
from server.engine.batching import BatchLimits
from tests.gpu_rehearsal.budgets import read_table

# Qwen3 0.6B without its table of tokens, on an H200 as modelled: operations a second in bfloat16, the share that
# products reach of them, and bytes a second.
LAYERS, PARAMETERS = 28, 440_401_920
FLOPS, PRODUCT_EFFICIENCY, BYTES_PER_S = 790e12, 0.85, 3.9e12
# A kernel takes the device so long at least, and its launch the host.
KERNEL_S, LAUNCH_S = 2e-6, 5e-6
# Products and attention of a layer. Any other kernel moves so much for a token: 127 GB for 16,384 tokens by
# 1,655 kernels.
LAYER_PRODUCTS, MOVED_BYTES = 6, 5300
# Of a forward pass by torch's operators, as counted before there were kernels of our own.
EAGER_KERNELS = 1655
LIMITS = BatchLimits(16384, 2048)
SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """Clients that each always have one request of some texts in progress."""

    clients: int
    texts: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.clients} clients, {self.texts} texts of {self.tokens} tokens a request"

    def arrivals(self) -> Sequence[Arrival]:
        return [Arrival(0.0, "recorded", (self.tokens,) * self.texts, again=True) for _ in range(self.clients)]


LOADS = (Load(64, 64, 32), Load(64, 1, 32), Load(64, 1, 512), Load(1, 1, 16))


def modelled(kernels: int) -> Device:
    """A GPU on which a forward pass is so many kernels."""
    moved_s = (kernels - LAYER_PRODUCTS * LAYERS) * MOVED_BYTES / BYTES_PER_S
    token_s = 2 * PARAMETERS / (FLOPS * PRODUCT_EFFICIENCY) + moved_s
    return Device(f"{kernels} kernels", kernels * KERNEL_S, token_s, kernels * LAUNCH_S, LIMITS)


def run(load: Load, kernels: int) -> Run:
    return simulate(OURS, modelled(kernels), load.arrivals(), SECONDS)


def busy_share(outcome: Run) -> float:
    """The share of time in which the device computed."""
    device = outcome.device
    return (outcome.batches * device.batch_s + outcome.tokens * device.token_s) / outcome.seconds


def product_share(outcome: Run) -> float:
    """The operations of products, in what the device could do in the time."""
    return 2 * PARAMETERS * outcome.tokens / outcome.seconds / FLOPS


def kernels_now() -> int:
    """Kernels of a forward pass whose texts share nothing, as budgets.json has them."""
    return read_table()["qwen3 0.6B, 512 texts of 32 tokens"]["kernels"]


def table(counts: Sequence[int]) -> Rows:
    """A row for each load and number of kernels."""
    rows = [["load", "kernels", "texts/s", "device busy", "share of the matrix ceiling", "p50 ms"]]
    for load in LOADS:
        for kernels in counts:
            outcome = run(load, kernels)
            p50, _ = percentiles([request.seconds * 1000 for request in outcome.served])
            shares = (f"{share(outcome):.2f}" for share in (busy_share, product_share))
            texts = outcome.tokens / load.tokens / outcome.seconds
            rows.append([str(load), f"{kernels:,}", f"{texts:,.0f}", *shares, f"{p50:.1f}"])
    return rows


def main() -> None:
    title = "Rehearsal: modelled, not run on a GPU"
    rows = table((EAGER_KERNELS, kernels_now()))
    show(title, rows)
    notes = (
        "`python -m tests.support.simulated_cuda.pipeline`: the server's own rule for batches in virtual time. "
        f"Qwen3 0.6B in bfloat16 on a modelled H200: {FLOPS / 1e12:.0f} TFLOP/s, of which products "
        f"reach {PRODUCT_EFFICIENCY:.0%}; "
        f"{BYTES_PER_S / 1e12} TB/s; {KERNEL_S * 1e6:g} us of the device and {LAUNCH_S * 1e6:g} us of the host a "
        "kernel. The kernels were counted on the simulated GPU, with torch's operators and ours. Attention is free.\n"
    )
    write(RESULTS / "gpu-rehearsal.md", f"# {title}\n\n{notes}", markdown("Closed loops of five seconds", rows))


if __name__ == "__main__":
    main()
