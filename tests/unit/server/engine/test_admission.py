"""Whether a request may enter the queue."""

import pytest

from server.config import Batching, Config, RequestLimits
from server.engine.admission import Admission, make_admission
from server.engine.messages import EngineState, QueueStats
from server.errors import ApiError, Draining, ModelLoading, QueueFull, TooLate, TooManyWaiting, Unavailable

ADMISSION = Admission(max_tokens=100, max_items=10, timeout_s=60)


@pytest.mark.parametrize(
    ("phase", "error"), [("loading", ModelLoading), ("draining", Draining), ("failed", Unavailable)]
)
def test_76_an_engine_that_is_not_ready_takes_nothing(phase: str, error: type[ApiError]) -> None:
    with pytest.raises(error) as caught:
        ADMISSION.check(EngineState(phase), "m", 1, 1)  # type: ignore[arg-type]

    assert caught.value.status == 503
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 120


def test_an_empty_queue_takes_any_request_that_the_limits_allow() -> None:
    ADMISSION.check(EngineState("ready", {"m": QueueStats(tokens_per_s=0.1)}), "m", tokens=10_000, items=10_000)


@pytest.mark.parametrize(("tokens", "items"), [(51, 1), (1, 6)])
def test_75_a_queue_is_bounded_in_tokens_and_in_items(tokens: int, items: int) -> None:
    with pytest.raises(QueueFull) as caught:
        ADMISSION.check(EngineState("ready", {"m": QueueStats(5, 50, 10)}), "m", tokens, items)

    assert caught.value.status == 429


def test_75_up_to_its_bounds_it_takes_more() -> None:
    ADMISSION.check(EngineState("ready", {"m": QueueStats(5, 50, 10)}), "m", 50, 5)


def test_75_retry_after_is_the_time_until_there_is_room() -> None:
    with pytest.raises(QueueFull) as caught:
        ADMISSION.check(EngineState("ready", {"m": QueueStats(5, 90, 10)}), "m", 50, 1)

    assert caught.value.headers["Retry-After"] == "4"


def test_a_request_that_would_be_late_is_refused_at_once() -> None:
    with pytest.raises(TooLate) as caught:
        ADMISSION.check(EngineState("ready", {"m": QueueStats(9, 90, 1)}), "m", 10, 1)

    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")


def test_a_query_is_not_refused_for_a_long_job_that_it_would_pass() -> None:
    ADMISSION.check(EngineState("ready", {"m": QueueStats(5, 90, 1)}), "m", 5, 1)


def test_before_the_first_batch_nobody_is_refused_for_being_late() -> None:
    ADMISSION.check(EngineState("ready", {"m": QueueStats(5, 50, 0)}), "m", 50, 1)


FULL = QueueStats(5, 100, 10)


def test_75_one_models_full_queue_is_not_anothers() -> None:
    ADMISSION.check(EngineState("ready", {"m": FULL, "n": QueueStats(1, 10, 10)}), "n", 50, 1)


def test_75_before_a_body_is_read_only_what_every_model_refuses_is_refused() -> None:
    overfull = QueueStats(5, 120, 10)
    ADMISSION.check_open(EngineState("ready", {"m": overfull}), ["m", "n"])

    with pytest.raises(QueueFull) as caught:
        ADMISSION.check_open(EngineState("ready", {"m": overfull, "n": QueueStats(5, 150, 10)}), ["n", "m"])

    assert caught.value.headers["Retry-After"] == "2"


def test_75_what_may_never_fit_is_read_while_the_queue_is_just_full() -> None:
    ADMISSION.check_open(EngineState("ready", {"m": FULL}), ["m"])


def test_another_models_work_counts_for_as_long_as_it_takes() -> None:
    slow, state = QueueStats(1, 90, 1), {"m": QueueStats(0, 0, 1000)}
    ADMISSION.check(EngineState("ready", state | {"slow": slow}), "m", 100, 1)

    with pytest.raises(TooLate):
        ADMISSION.check(EngineState("ready", {"m": QueueStats(0, 0, 2), "slow": slow}), "m", 70, 1)


def test_the_bounds_are_never_below_the_largest_request() -> None:
    config = Config(
        batching=Batching(queue_tokens=5, queue_items=5), limits=RequestLimits(request_tokens=7, rerank_tokens=9)
    )

    assert make_admission(config) == Admission(9, 2048, 590)


def test_75_inputs_that_are_too_many_wait_until_so_many_are_done() -> None:
    with pytest.raises(TooManyWaiting) as caught:
        ADMISSION.check(EngineState("ready", {"m": QueueStats(10, 50, 10)}), "m", 1, 4)

    assert caught.value.type == "requests"
    assert caught.value.headers["Retry-After"] == "2"
    assert "10 inputs waiting" in caught.value.message
