"""docs/operating.md: what it sets is known, and what it measures is measured."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from server.config_sources import load_config
from server.observability.metrics import Metrics
from tests.support.docs import DOCS, sections

SECTIONS = {section.title: section for section in sections("operating.md")}


def _yaml(title: str) -> Any:
    return yaml.safe_load(SECTIONS[title].code("yaml")[-1])


def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    *exports, command = SECTIONS["Without a file"].code("sh")[0].splitlines()
    for line in exports:
        name, _, value = shlex.split(line)[1].partition("=")
        monkeypatch.setenv(name, value)

    config = load_config()

    assert command == "hearth serve"
    assert [model.path for model in config.models] == ["Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Reranker-0.6B"]
    assert (config.host, str(config.auth.keys_file)) == ("0.0.0.0", "/run/secrets/hearth-keys")


def test_each_device_can_be_configured(tmp_path: Path) -> None:
    devices = []
    for shown in SECTIONS["Several devices"].code("yaml"):
        (tmp_path / "config.yaml").write_text(shown, "utf-8")
        devices.append([model.devices for model in load_config(tmp_path / "config.yaml").models])

    assert devices == [[("cuda:0",), ("cuda:1",)], [("cuda:0", "cuda:1", "cuda:2", "cuda:3")]]


def test_the_pod_sets_known_variables_and_outlives_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = _yaml("Kubernetes")["spec"]
    (container,) = pod["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])

    config = load_config()

    assert [model.path for model in config.models] == ["/weights/Qwen3-Embedding-0.6B"]
    assert pod["terminationGracePeriodSeconds"] > config.drain_timeout_s


def test_the_unit_outlives_the_drain() -> None:
    (unit,) = SECTIONS["systemd"].code("ini")

    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)

    assert stop
    assert int(stop[1]) > load_config().drain_timeout_s


def _families() -> list[Metric]:
    return list(Metrics().collect())


def test_the_page_has_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(hearth_\w+)` \| (.*?) \|", (DOCS / "operating.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(name for name, _ in rows) == sorted(family.name for family in _families())


def test_alerts_use_metrics_that_exist() -> None:
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    known = {family.name + ending for family in _families() for ending in endings[family.type]}

    rules = _yaml("Metrics")["groups"][0]["rules"]

    names = {name for rule in rules for name in re.findall(r"hearth_\w+", rule["expr"])}
    assert names <= known
    assert len(rules) == 4
