"""The budget of body bytes: who has room, and who gives way."""

import pytest

from server.api.body import budget
from server.api.body.budget import PROGRESS_BYTES, SMALL_BODY_BYTES, STALLED_S, BodyBudget
from server.errors import TooManyBodies

KIB = 1024
BUDGET = 1024 * KIB


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(budget, "monotonic", clock)
    return clock


def test_room_is_given_back_at_the_end() -> None:
    bodies = BodyBudget(BUDGET)
    with bodies.hold() as body:
        body.grow(700 * KIB)
        with bodies.hold() as other, pytest.raises(TooManyBodies):
            other.grow(300 * KIB)
    with bodies.hold() as body:
        body.grow(300 * KIB)

    assert bodies.held_bytes == 0


def test_a_body_is_refused_before_it_is_read_and_takes_no_room_by_what_it_declares() -> None:
    bodies = BodyBudget(BUDGET)
    with bodies.hold() as first, bodies.hold() as second:
        first.expect(800 * KIB)
        second.expect(800 * KIB)
        first.grow(800 * KIB)
        with pytest.raises(TooManyBodies, match=f"holds {800 * KIB} bytes of other requests"):
            second.expect(800 * KIB)


def test_an_eighth_is_left_for_small_bodies() -> None:
    bodies = BodyBudget(BUDGET)
    with bodies.hold() as large, bodies.hold() as small, bodies.hold() as next_large:
        large.grow(BUDGET * 7 // 8)
        small.grow(SMALL_BODY_BYTES)

        with pytest.raises(TooManyBodies):
            next_large.grow(SMALL_BODY_BYTES + 1)


def test_an_empty_budget_has_room_for_one_body_of_any_size() -> None:
    bodies = BodyBudget(BUDGET)
    with bodies.hold() as body:
        body.expect(2 * BUDGET)
        body.grow(BUDGET)
        body.grow(BUDGET)


def test_a_body_that_stalls_gives_way(clock: _Clock) -> None:
    bodies = BodyBudget(BUDGET)
    stopped = list[str]()
    with bodies.hold() as first, bodies.hold() as second, bodies.hold() as third:
        first.on_give_way = lambda: stopped.append("first")
        second.on_give_way = lambda: stopped.append("second")
        first.grow(400 * KIB)
        second.grow(400 * KIB)
        clock.now_s = STALLED_S
        second.grow(PROGRESS_BYTES)
        third.grow(400 * KIB)

        assert stopped == ["first"]
        assert first.gave_way
        assert bodies.held_bytes == 800 * KIB + PROGRESS_BYTES

    assert bodies.held_bytes == 0


def test_a_byte_now_and_then_is_no_progress(clock: _Clock) -> None:
    bodies = BodyBudget(BUDGET)
    with bodies.hold() as slow, bodies.hold() as other:
        slow.grow(800 * KIB)
        clock.now_s = STALLED_S
        slow.grow(1)
        other.grow(400 * KIB)

        assert slow.gave_way


@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_whole_body_and_one_that_is_coming_keep_their_room(clock: _Clock, has_arrived: bool) -> None:
    bodies = BodyBudget(BUDGET)
    with bodies.hold() as body, bodies.hold() as other:
        body.grow(800 * KIB)
        if has_arrived:
            body.arrived()
        clock.now_s = STALLED_S * (10 if has_arrived else 0.9)

        with pytest.raises(TooManyBodies):
            other.grow(400 * KIB)
        assert not body.gave_way


def test_retry_after_is_how_long_large_bodies_are_held(clock: _Clock) -> None:
    bodies = BodyBudget(BUDGET)
    for _ in range(50):
        with bodies.hold() as body:
            body.grow(SMALL_BODY_BYTES + 1)
            clock.now_s += 7
        with bodies.hold() as body:
            body.grow(SMALL_BODY_BYTES)
            clock.now_s += 100

    assert bodies.refusal().retry_after_s == pytest.approx(7, rel=0.01)
