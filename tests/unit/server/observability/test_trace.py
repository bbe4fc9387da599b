"""What is known of one request while it is answered."""

import re

import pytest

from server.observability.trace import Trace, new_trace

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("client_id", ["a", "abc-1", "A.b_c:9-", "x" * 128])
def test_79_a_safe_id_is_kept(client_id: str) -> None:
    assert new_trace(client_id).request_id == client_id


@pytest.mark.parametrize("client_id", [None, "", "a b", "x" * 129, "a\nb", "a\r\nx: y", "é", "a\n"])
def test_79_any_other_is_replaced(client_id: str | None) -> None:
    assert re.fullmatch(r"req_[0-9a-f]{16}", new_trace(client_id).request_id)


@pytest.mark.parametrize("traceparent", [PARENT, PARENT.replace("00-", "cc-", 1)])
def test_the_callers_trace_is_told_in_the_log(traceparent: str) -> None:
    assert new_trace(None, traceparent).log_fields()["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "traceparent",
    [
        *(None, "", "x", PARENT.upper(), PARENT[:-1], "ff" + PARENT[2:], PARENT + "\n", " " + PARENT),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    ],
)
def test_one_that_is_malformed_is_none(traceparent: str | None) -> None:
    assert "trace_id" not in new_trace(None, traceparent).log_fields()


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


def test_a_control_token_that_a_text_spells_out_is_in_the_access_log() -> None:
    trace = Trace("r")
    trace.control_tokens = 2

    assert trace.log_fields()["control_tokens_as_text"] == 2
