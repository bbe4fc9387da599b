"""The files of the configuration: what is read, and what is refused with its line."""

import os
from pathlib import Path

import pytest

from server.config import ConfigError
from server.config_file import read_text, read_yaml

# Nine values, of nine values each, and so on: 43 million in eight lines.
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{below}: &{below} [{','.join([f'*{above}'] * 9)}]\n" for above, below in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that does not exist yet, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path("c.yaml")


def test_every_key_and_entry_has_its_line(file: Path) -> None:
    file.write_text("port: 1\nmodels:\n  - path: a\n  - path: b\n    device: cpu\n", "utf-8")

    lines = read_yaml(file).lines

    assert (lines["port",], lines["models", 0], lines["models", 1, "device"]) == (1, 3, 5)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_a_file_without_keys_sets_nothing(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")

    assert read_yaml(file).data == {}


def test_a_byte_order_mark_is_skipped(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfport: 9\n")

    assert read_yaml(file).data == {"port": 9}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: 1\nport: 2", "c.yaml:2: the key 'port' is here a second time; the first is in line 1"),
        ("a:\n  b: 1\n  b: 1", "c.yaml:3: the key 'b' is here a second time; the first is in line 2"),
        ("b: [{a: 1, a: 2}]", "c.yaml:1: the key 'a' is here a second time; the first is in line 1"),
        ("a: &a [*a]", "c.yaml:1: this value contains itself"),
        ("port: 1\nx: [", "c.yaml:2: this is not YAML: "),
        ("x: 2026-99-99", "c.yaml: this is not YAML: "),
        ("- a\n- b\n", "c.yaml: expected lines of the form `key: value`"),
        pytest.param(BOMB, "c.yaml: more than 100000 values, counting those of an alias", id="bomb"),
        pytest.param("a: " + "[" * 2000, "c.yaml: the values are nested too deeply", id="deep"),
        ("just words", "c.yaml: expected lines of the form `key: value`"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(file: Path, text: str, message: str) -> None:
    file.write_text(text, "utf-8")

    with pytest.raises(ConfigError) as caught:
        read_yaml(file)

    assert str(caught.value).startswith(message)


def test_a_key_may_override_one_of_a_merged_mapping(file: Path) -> None:
    file.write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\n", "utf-8")

    assert read_yaml(file).data["b"] == {"x": 3, "y": 2}


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^auth\.keys_file must be a regular file; '.*' is a directory$"):
        read_text(tmp_path, "auth.keys_file")


def test_a_fifo_is_refused_without_waiting_for_a_writer(file: Path) -> None:
    os.mkfifo(file)

    with pytest.raises(ConfigError, match=r"'c\.yaml' is a FIFO \(a named pipe\)$"):
        read_text(file, "the configuration file")


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the configuration file does not exist: 'c\.yaml'$"):
        read_yaml(file)


def test_a_file_that_is_not_utf_8_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"must be text in UTF-8; 'c\.yaml' is not$"):
        read_yaml(file)
