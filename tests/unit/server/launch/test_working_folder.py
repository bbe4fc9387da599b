"""The folder of one server for the sockets of its processes."""

import stat
import tempfile
from pathlib import Path

import pytest

from server.config import ConfigError
from server.launch.working_folder import working_folder


@pytest.fixture(autouse=True)
def _no_folder_chosen_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_only_this_user_can_read_it_and_it_is_gone_at_the_end() -> None:
    with working_folder() as folder:
        mode = stat.S_IMODE(folder.stat().st_mode)

    assert mode == 0o700
    assert not folder.exists()


def test_a_path_that_no_socket_can_have_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("t" * 60) / ("u" * 60)
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))

    with pytest.raises(ConfigError, match=r"may have 107 bytes; '.*' has \d+; set TMPDIR to"), working_folder():
        pass


def test_no_place_for_temporary_files_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])

    with (
        pytest.raises(ConfigError, match=r"no folder for temporary files can be written to \(.*/proc"),
        working_folder(),
    ):
        pass
