"""Several HTTP processes behind one port."""

import asyncio
import signal
from collections.abc import Callable

from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    batches,
    children,
    hold,
    metric_total,
    paused,
    pid_of,
    queued,
    send_signal,
    until,
    wait_for_workers,
)
from tests.support.server.process import ServerProcess

ROUTE = 'hearth_requests_total{route="/v1/embeddings",status="200"}'


async def test_two_workers_share_the_port_and_metrics_add_both_up(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, workers=2)
    _, one, other = children(pid_of(hearth))
    by_other, by_one = Clients(hearth), Clients(hearth)

    with paused([one]):
        by_other.send(10)
        answers = await by_other.answers()
        counted_by_other = metric_total(hearth, ROUTE)
    with paused([other]):
        by_one.send(7)
        answers += await by_one.answers()
        counted_by_one = metric_total(hearth, ROUTE)

    assert [answer.status_code for answer in answers] == [200] * 17
    assert (counted_by_other, counted_by_one) == (10, 17)
    assert metric_total(hearth, "hearth_ready") == 2


async def test_for_a_worker_that_was_killed_nothing_more_is_computed(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, workers=2, batching={"max_items": 4})
    _, one, other = children(pid_of(hearth))
    lost, after = Clients(hearth), Clients(hearth)

    with paused([other]):
        await hold(hearth, model, lost, ["a"] * 800)
        send_signal([one], signal.SIGKILL)
    await lost.drop()
    await queued(hearth, 0)
    model.release()
    after.send(1)
    [answer] = await after.answers()

    assert answer.status_code == 200
    assert batches(hearth) == 2


async def test_a_worker_that_dies_is_started_again(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, workers=2)
    engine, one, other = children(pid_of(hearth))
    clients = Clients(hearth)

    send_signal([one], signal.SIGKILL)
    await until(hearth, lambda: len(set(children(pid_of(hearth))) - {one}) == 3)
    await asyncio.to_thread(wait_for_workers, hearth)
    with paused([other]):
        clients.send(5)
        answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 5
    assert engine in children(pid_of(hearth))
