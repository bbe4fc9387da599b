"""Whether a request may enter the queue."""

import pytest

from server.config import Batching, Config, RequestLimits
from server.engine.admission import Admission, QueueView, check_phase, make_admission
from server.engine.messages import Phase, QueueStats
from server.errors import ApiError, Draining, ModelLoading, QueueFull, TooLate, TooManyWaiting, Unavailable, WaitTooLong

ADMISSION = Admission(max_tokens=100, max_items=10, timeout_s=60)
FULL = QueueStats(5, 100, 10)


def _view(**queues: QueueStats) -> QueueView:
    view = QueueView()
    view.report(queues)
    return view


def _shared_view(*loads: tuple[str, int, int], tokens_per_s: float = 10) -> QueueView:
    """Queues of this process alone: caller, requests, and the tokens of each."""
    view = _view(m=QueueStats(tokens_per_s=tokens_per_s))
    for caller, requests, tokens in loads:
        for _ in range(requests):
            view.add("m", 1, tokens, caller)
    return view


def _content(view: QueueView) -> tuple[dict[str, QueueStats], int, int]:
    return dict(view.queues), view.waiting_items, view.waiting_tokens


@pytest.mark.parametrize(
    ("phase", "error"), [("loading", ModelLoading), ("draining", Draining), ("failed", Unavailable)]
)
def test_76_an_engine_that_is_not_ready_refuses_every_request(phase: Phase, error: type[ApiError]) -> None:
    with pytest.raises(error) as caught:
        check_phase(phase)

    assert caught.value.status == 503
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 120


def test_an_empty_queue_has_room_for_any_request_that_the_limits_allow() -> None:
    ADMISSION.check(_view(m=QueueStats(tokens_per_s=0.1)), "m", tokens=10_000, items=10_000)


@pytest.mark.parametrize(("tokens", "items"), [(51, 1), (1, 6)])
def test_75_a_queue_is_limited_in_tokens_and_in_items(tokens: int, items: int) -> None:
    with pytest.raises(QueueFull) as caught:
        ADMISSION.check(_view(m=QueueStats(5, 50, 10)), "m", tokens, items)

    assert caught.value.status == 429


def test_75_up_to_its_limits_a_queue_has_room() -> None:
    ADMISSION.check(_view(m=QueueStats(5, 50, 10)), "m", 50, 5)


def test_75_retry_after_is_the_time_until_there_is_room() -> None:
    with pytest.raises(QueueFull) as caught:
        ADMISSION.check(_view(m=QueueStats(5, 90, 10)), "m", 50, 1)

    assert caught.value.headers["Retry-After"] == "4"


def test_a_request_that_would_be_late_is_refused_at_once() -> None:
    with pytest.raises(TooLate) as caught:
        ADMISSION.check(_shared_view(("", 9, 10), tokens_per_s=1), "m", 10, 1)

    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")


def test_a_query_is_not_refused_for_a_long_job_that_it_would_pass() -> None:
    ADMISSION.check(_view(m=QueueStats(5, 90, 1)), "m", 5, 1)


def test_before_the_first_batch_no_request_is_refused_for_being_late() -> None:
    ADMISSION.check(_view(m=QueueStats(5, 50, 0)), "m", 50, 1)


def test_75_the_full_queue_of_one_model_leaves_room_in_the_others() -> None:
    ADMISSION.check(_view(m=FULL, n=QueueStats(1, 10, 10)), "n", 50, 1)


def test_75_before_a_body_is_read_a_request_is_refused_only_if_every_model_refuses_it() -> None:
    overfull = QueueStats(5, 120, 10)
    ADMISSION.check_open(_view(m=overfull), ["m", "n"])

    with pytest.raises(QueueFull) as caught:
        ADMISSION.check_open(_view(m=overfull, n=QueueStats(5, 150, 10)), ["n", "m"])

    assert caught.value.headers["Retry-After"] == "2"


def test_75_a_body_is_read_while_the_queue_is_just_full() -> None:
    ADMISSION.check_open(_view(m=FULL), ["m"])


def test_75_before_any_model_is_known_a_body_is_read() -> None:
    ADMISSION.check_open(_view(), [])


def test_the_queue_of_another_model_counts_for_the_time_that_it_takes() -> None:
    slow = QueueStats(1, 90, 1)
    ADMISSION.check(_view(m=QueueStats(0, 0, 1000), slow=slow), "m", 100, 1)

    with pytest.raises(TooLate):
        ADMISSION.check(_view(m=QueueStats(0, 0, 2), slow=slow), "m", 70, 1)


# 9 items wait for 9 s, 1 item waits for 50 s: a request of s seconds waits for min(9, 9 s) + min(50, s) before its own.
@pytest.mark.parametrize(("own_tokens", "is_late"), [(54, False), (250, False), (255, False), (256, True)])
def test_a_request_is_late_by_the_sum_over_all_queues(own_tokens: int, *, is_late: bool) -> None:
    admission = Admission(max_tokens=1000, max_items=100, timeout_s=60)
    view = _view(m=QueueStats(tokens_per_s=10), n=QueueStats(tokens_per_s=1))
    for _ in range(9):
        view.add("m", 1, 10)
    view.add("n", 1, 50)

    try:
        admission.check(view, "m", own_tokens, 1)
        was_late = False
    except TooLate:
        was_late = True

    assert was_late is is_late


def test_the_limits_are_those_of_the_configuration_however_large_a_request_may_be() -> None:
    batching = Batching(queue_tokens=5, queue_items=6, queue_seconds=8)
    config = Config(batching=batching, limits=RequestLimits(request_tokens=7))

    assert make_admission(config) == Admission(5, 6, 590, 8)


def test_a_request_over_the_limit_itself_is_told_when_the_queue_is_empty() -> None:
    admission = Admission(max_tokens=10, max_items=100, timeout_s=60)

    admission.check(_view(), "m", 500, 1)
    with pytest.raises(QueueFull) as caught:
        admission.check(_view(m=QueueStats(1, 8, 2)), "m", 500, 1)

    assert caught.value.retry_after_s == 4


def test_75_a_request_of_too_many_inputs_is_told_when_enough_of_the_queue_is_done() -> None:
    with pytest.raises(TooManyWaiting) as caught:
        ADMISSION.check(_view(m=QueueStats(10, 50, 10)), "m", 1, 4)

    assert caught.value.type == "requests"
    assert caught.value.headers["Retry-After"] == "2"
    assert "10 inputs waiting" in caught.value.message


def test_a_view_adds_our_own_requests_to_those_of_other_processes() -> None:
    view = _view(m=QueueStats(1, 10, 5.0), n=QueueStats(2, 20, 6.0))

    view.add("m", 3, 30)
    view.add("o", 4, 40)

    queues = {"m": QueueStats(4, 40, 5.0, 1), "n": QueueStats(2, 20, 6.0), "o": QueueStats(4, 40, 0, 1)}
    assert _content(view) == (queues, 10, 100)


def test_a_report_replaces_the_others_and_keeps_our_own() -> None:
    view = _view(m=QueueStats(1, 10, 5.0), n=QueueStats(2, 20, 6.0))
    view.add("m", 3, 30)

    view.report({"m": QueueStats(0, 0, 7.0)})

    assert _content(view) == ({"m": QueueStats(3, 30, 7.0, 1)}, 3, 30)


def test_a_request_that_is_removed_leaves_no_trace_in_the_totals() -> None:
    view = _view(m=QueueStats(1, 10, 5.0))
    before = _content(view)

    view.add("m", 3, 30)
    view.remove("m", 3, 30)
    after = _content(view)
    view.report({"m": QueueStats(1, 10, 5.0)})

    assert before == after == _content(view)


TEN_SECONDS = Admission(max_tokens=10**6, max_items=10**6, timeout_s=590, max_wait_s=10)


def test_75_a_request_that_would_wait_too_long_for_others_is_told_when_there_is_room() -> None:
    with pytest.raises(WaitTooLong) as caught:
        TEN_SECONDS.check(_shared_view(("a", 15, 10)), "m", 10, 1, caller="a")

    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.headers["Retry-After"] == "5"


def test_75_the_time_for_a_request_itself_is_no_waiting_time() -> None:
    TEN_SECONDS.check(_shared_view(("a", 1, 90)), "m", 5000, 1, caller="a")
    TEN_SECONDS.check(_shared_view(), "m", 5000, 1, caller="a")


def test_75_nobody_waits_beyond_the_deadline_of_the_request_itself() -> None:
    view = _shared_view(("a", 5, 10))
    TEN_SECONDS.check(view, "m", 10, 1, caller="a", left_s=6.5)

    with pytest.raises(TooLate) as caught:
        TEN_SECONDS.check(view, "m", 10, 1, caller="a", left_s=4)

    assert "the limit is 4 s" in caught.value.message


def test_75_the_queue_of_one_caller_leaves_room_for_the_others() -> None:
    view = _shared_view(("crowd", 300, 10))

    TEN_SECONDS.check(view, "m", 10, 1, caller="light")
    with pytest.raises(WaitTooLong):
        TEN_SECONDS.check(view, "m", 10, 1, caller="crowd")


def test_75_many_callers_share_the_device_and_so_the_waiting_time() -> None:
    view = _shared_view(*((f"{number}", 2, 10) for number in range(20)))

    assert view.wait_s(1, "0") == pytest.approx(2 + 19 * 2)
    assert view.wait_s(1, "new") == pytest.approx(20)


def test_75_a_query_does_not_wait_for_the_bulk_jobs_of_its_own_caller() -> None:
    assert _shared_view(("a", 3, 1000)).wait_s(0.1, "a") == pytest.approx(0.3)


def test_75_the_requests_of_other_processes_have_the_same_callers() -> None:
    view = _view(m=QueueStats(30, 300, 10, requests=30))
    view.add("m", 10, 10, "a", requests=10)

    assert view.wait_s(1, "a") == pytest.approx(31)


def test_75_before_the_body_is_read_a_caller_is_refused_if_even_one_token_would_wait_too_long() -> None:
    view = _shared_view(("crowd", 300, 1))
    TEN_SECONDS.check_open(view, ["m"], caller="light")

    with pytest.raises(WaitTooLong):
        TEN_SECONDS.check_open(view, ["m"], caller="crowd")


def test_a_caller_without_requests_is_forgotten() -> None:
    view = _shared_view(("a", 2, 10))
    view.shrink("m", 5, "a")
    view.remove("m", 1, 5, "a")
    view.remove("m", 1, 10, "a")

    assert view.queue("m") == QueueStats(tokens_per_s=10)
    assert view.wait_s(1, "a") == 0


def test_75_before_the_body_is_read_its_length_tells_how_long_it_would_wait() -> None:
    view = _shared_view(("bulk", 4, 40))
    TEN_SECONDS.check_open(view, ["m"], caller="bulk")

    with pytest.raises(WaitTooLong):
        TEN_SECONDS.check_open(view, ["m"], 40, caller="bulk")


def test_75_a_model_that_has_not_run_yet_shares_the_device_with_the_others() -> None:
    view = _shared_view(("bulk", 4, 40))
    view.report({"m": QueueStats(tokens_per_s=10), "new": QueueStats()})

    with pytest.raises(WaitTooLong):
        TEN_SECONDS.check_open(view, ["m", "new"], 40, caller="bulk")
