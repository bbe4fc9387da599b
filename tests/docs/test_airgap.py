"""docs/airgap.md: its commands run in their order, except those that need a package index or a container."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.checkpoint.manifest import read_manifest
from tests.support.checkpoints.qwen3 import build
from tests.support.docs import DOCS, run_shell, sections
from tests.support.server.hub import serve_hub
from tests.support.server.process import ServerProcess

ROOT = DOCS.parent
SECTIONS = {section.title: section for section in sections("airgap.md")}
CONNECTED, CARRY, BEHIND = "With a network", "Carry it over", "Behind the gap"
EMBEDDER, RERANKER = "Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Reranker-0.6B"


def commands(title: str) -> list[str]:
    return SECTIONS[title].code("sh")


@dataclass(frozen=True)
class Gap:
    """A folder with a network and one without."""

    connected: Path
    behind: Path
    agents: set[str]
    """The User-Agent headers that the hub received."""


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gap]:
    """Models that the page's own commands pulled from a hub and carried over."""
    folder = tmp_path_factory.mktemp("gap")
    places = Gap(folder / "connected", folder / "stick", set())
    for place in (places.connected, places.behind):
        place.mkdir()
    published = {EMBEDDER: build(folder / "hub" / "e"), RERANKER: build(folder / "hub" / "r", "reranker")}
    with serve_hub(published) as hub:
        environment = f"export HF_ENDPOINT={hub.url} HF_HOME={folder}/home NO_PROXY='*'; unset HF_HUB_OFFLINE\n"
        run_shell(f"cd {places.connected}\n{environment}{commands(CONNECTED)[0]}", "")
        places.agents.update(hub.agents)
    run_shell(f"cd {places.connected}\n{commands(CARRY)[0].replace('/mnt/stick/', str(places.behind))}", "")
    yield places
    shutil.rmtree(folder)


def test_carried_folders_have_their_manifests(gap: Gap) -> None:
    for name in (EMBEDDER, RERANKER):
        manifest = read_manifest(gap.behind / "carry" / "weights" / name.split("/")[1])
        assert manifest is not None
        assert manifest.source == name


def test_the_hub_is_not_told_which_packages_are_installed(gap: Gap) -> None:
    assert gap.agents
    assert not any("torch" in agent or "origin" in agent for agent in gap.agents)


def test_behind_the_gap_it_serves_and_answers(gap: Gap) -> None:
    serve, ask = commands(BEHIND)[1:3]
    arguments = serve.split()[2:]

    with ServerProcess(gap.behind, None, *arguments) as hearth:
        answer = run_shell(ask, hearth.url)
        listed = [model["id"] for model in hearth.client.get("/v1/models").json()["data"]]

    assert listed == ["Qwen3-Embedding-0.6B", "Qwen3-Reranker-0.6B"]
    assert '"relevance_score"' in answer
    assert len([line for line in hearth.log if "the weights match manifest.json" in line]) == 2


def test_weights_can_be_copied_on_and_are_checked(gap: Gap) -> None:
    run_shell(f"cd {gap.behind}\n{commands(BEHIND)[3]}", "")

    copied = read_manifest(gap.behind / "weights" / "Qwen3-Embedding-0.6B")
    assert copied == read_manifest(gap.behind / "carry" / "weights" / "Qwen3-Embedding-0.6B")


def test_the_model_can_be_checked_there(gap: Gap) -> None:
    assert "agrees with the reference" in run_shell(f"cd {gap.behind}\n{commands(BEHIND)[4]}", "")


def test_damage_is_reported_as_the_page_says(gap: Gap) -> None:
    weights = gap.behind / "carry" / "weights" / "Qwen3-Embedding-0.6B" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"!")

    hearth = ServerProcess(gap.behind, None, *commands(BEHIND)[1].split()[2:])

    assert hearth.end() == 2
    weights.write_bytes(good)
    shown = SECTIONS["What is checked, and when"].code("text")[0]
    # The file, and what to do: the words between may change.
    for part in (shown.split()[1], "manifest.json"):
        assert part in shown
        assert part in hearth.log[-1]


def test_the_packages_are_named_as_they_are() -> None:
    wheels, install = commands(CONNECTED)[1], commands(BEHIND)[0]

    assert (ROOT / "constraints.txt").is_file()
    assert "-w carry/wheels torch '.[minilm]'" in wheels
    assert "--find-links carry/wheels torch 'hearth[minilm]'" in install
    assert " AS cuda\n" in (ROOT / "Dockerfile").read_text("utf-8")
    assert os.access(ROOT / "config.yaml", os.R_OK)
