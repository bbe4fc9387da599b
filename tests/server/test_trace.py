"""What is known of one request while it is answered."""

import re

import pytest

from server.trace import Trace, new_trace


@pytest.mark.parametrize("client_id", ["a", "abc-1", "A.b_c:9-", "x" * 128])
def test_79_a_safe_id_is_kept(client_id: str) -> None:
    assert new_trace(client_id).request_id == client_id


@pytest.mark.parametrize("client_id", [None, "", "a b", "x" * 129, "a\nb", "a\r\nx: y", "é", "a\n"])
def test_79_any_other_is_replaced(client_id: str | None) -> None:
    assert re.fullmatch(r"req_[0-9a-f]{16}", new_trace(client_id).request_id)


def test_80_server_timing_names_the_stages_that_ran() -> None:
    trace = Trace("r")

    with trace.stage("tokenize"):
        pass
    trace.stages["queue"] = 0.0012

    assert re.fullmatch(r"tokenize;dur=\d+\.\d, queue;dur=1\.2, total;dur=\d+\.\d", trace.server_timing())


def test_a_stage_that_runs_twice_is_added_up() -> None:
    trace = Trace("r", stages={"tokenize": 100.0})

    with trace.stage("tokenize"):
        pass

    assert trace.stages["tokenize"] >= 100


def test_a_stage_that_fails_is_counted_too() -> None:
    trace = Trace("r")

    with pytest.raises(KeyError), trace.stage("tokenize"):
        raise KeyError

    assert "tokenize" in trace.stages


def test_the_log_has_what_was_asked_of_the_engine() -> None:
    trace = Trace("r")
    trace.note_work("m", 3, 40)

    fields = trace.log_fields()

    assert (fields["request_id"], fields["model"], fields["inputs"], fields["tokens"]) == ("r", "m", 3, 40)


def test_and_nothing_of_it_when_nothing_was() -> None:
    assert set(Trace("r").log_fields()) == {"request_id", "ms"}
