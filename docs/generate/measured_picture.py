"""Draws committed results as the picture in the README: python -m docs.generate.measured_picture (needs matplotlib)."""

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PICTURE = Path(__file__).parents[1] / "images" / "measured.svg"
OURS, OTHERS = "#d1495b", "#9aa5b1"


def main() -> None:
    """Write docs/images/measured.svg."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "hearth"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), constrained_layout=True)
    draw_ratios(left)
    draw_waits(right)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def draw_ratios(axes: Any) -> None:
    """How many times as fast as its contenders the packed network is."""
    report = json.loads((RESULTS / "forward-28-layers.json").read_text("utf-8"))
    found = {result["workload"]: result["times_ours"] for result in report["results"]}
    mixed = [ratios for name, ratios in found.items() if name.startswith("mixed")]
    names = list(mixed[0])
    bars = {
        f"64 mixed texts,\nagainst {name}": statistics.median(ratios[name] for ratios in mixed) for name in names
    } | {f"rerank 1 x 100,\nagainst {name}": ratio for name, ratio in found["rerank, 1 x 100"].items()}
    drawn = axes.barh(list(bars), list(bars.values()), color=OURS)
    axes.bar_label(drawn, fmt="%.2f x", padding=3)
    axes.axvline(1, color=OTHERS)
    axes.set_xlim(0, max(bars.values()) * 1.2)
    axes.invert_yaxis()
    axes.set_title("Forward pass: time of others / ours\n(shape of Qwen3 0.6B, bfloat16, 2 cores)", fontsize=10)


def draw_waits(axes: Any) -> None:
    """How long a short query waits beside bulk jobs, by scheduling rule."""
    table = read_table("mixed, two thirds of capacity: GPU-like")
    rules = {"Hearth": "Hearth, second batch bound late", "FIFO": "FIFO, bound late"}
    rules |= {rule: rule for rule in ("TEI's rule", "vLLM's rule")}
    waits = {name: [float(value.replace(",", "")) for value in table[rule].split("/")] for name, rule in rules.items()}
    places = range(len(waits))
    for shift, which, strength in ((-0.2, 0, 0.55), (0.2, 1, 1.0)):
        heights = [pair[which] for pair in waits.values()]
        colours = [OURS, *[OTHERS] * (len(waits) - 1)]
        drawn = axes.bar([place + shift for place in places], heights, 0.38, color=colours, alpha=strength)
        axes.bar_label(drawn, fmt="{:,.0f}", fontsize=8)
    axes.set_xticks(list(places), list(waits))
    axes.set_title("Simulated: time of a short query beside bulk jobs, ms\n(p50 pale, p99 full)", fontsize=10)


def read_table(heading: str) -> dict[str, str]:
    """The column of query times of one table in simulate.md, by rule."""
    text = (RESULTS / "simulation.md").read_text("utf-8").split(f"## {heading}", 1)[1]
    lines = [line.strip("| ").split(" | ") for line in text.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    column = lines[0].index("query p50 / p99 ms")
    return {cells[0]: cells[column] for cells in lines[2:]}


if __name__ == "__main__":
    main()
