"""Several HTTP processes behind one port."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

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
    _, first, second = children(pid_of(hearth))
    by_second, by_first = Clients(hearth), Clients(hearth)

    with paused([first]):
        by_second.send(10)
        answers = await by_second.answers()
        counted_by_second = metric_total(hearth, ROUTE)
    with paused([second]):
        by_first.send(7)
        answers += await by_first.answers()
        counted_by_first = metric_total(hearth, ROUTE)

    assert [answer.status_code for answer in answers] == [200] * 17
    assert (counted_by_second, counted_by_first) == (10, 17)
    assert metric_total(hearth, "hearth_ready") == 2


async def test_the_requests_of_a_worker_that_was_killed_do_not_run(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, workers=2, batching={"max_items": 4})
    _, first, second = children(pid_of(hearth))
    lost, after = Clients(hearth), Clients(hearth)

    with paused([second]):
        await hold(hearth, model, lost, ["a"] * 800)
        send_signal([first], signal.SIGKILL)
    await lost.drop()
    await queued(hearth, 0)
    model.release()
    after.send(1)
    [answer] = await after.answers()

    assert answer.status_code == 200
    assert batches(hearth) == 2


async def test_a_worker_that_dies_is_restarted(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, workers=2)
    engine, first, second = children(pid_of(hearth))
    clients = Clients(hearth)

    send_signal([first], signal.SIGKILL)
    await until(hearth, lambda: len(set(children(pid_of(hearth))) - {first}) == 3)
    await asyncio.to_thread(wait_for_workers, hearth)
    with paused([second]):
        clients.send(5)
        answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 5
    assert engine in children(pid_of(hearth))


async def test_a_worker_that_hangs_is_replaced(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, workers=2)
    engine, first, second = children(pid_of(hearth))
    clients = Clients(hearth)

    send_signal([first], signal.SIGSTOP)
    clients.send(20)
    meanwhile = await clients.answers()
    await asyncio.to_thread(hearth.wait_for, "the http process hangs and is killed: it has given no sign of life for")
    await until(hearth, lambda: len(set(children(pid_of(hearth))) - {first}) == 3)
    await asyncio.to_thread(wait_for_workers, hearth)
    clients.send(20)
    answers = await clients.answers()

    assert [answer.status_code for answer in meanwhile + answers] == [200] * 60
    assert {engine, second} <= set(children(pid_of(hearth)))
    assert metric_total(hearth, 'hearth_restarts_total{process="http"}') == 1


async def test_a_worker_that_is_restarted_needs_no_file(
    start: Callable[..., ServerProcess], model: FakeModel, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("old\n")
    hearth = start(model, workers=2, auth={"keys_file": str(keys)})
    _, first, second = children(pid_of(hearth))
    clients = Clients(hearth)

    keys.write_text("new\n")
    hearth.reload()
    await until(hearth, lambda: hearth.text().count("reloaded 1 API keys") == 3)
    keys.write_text("")
    (tmp_path / "model" / "config.json").unlink()
    send_signal([first], signal.SIGKILL)
    await until(hearth, lambda: len(set(children(pid_of(hearth))) - {first}) == 3)
    await asyncio.to_thread(wait_for_workers, hearth)
    with paused([second]):
        clients.send(5, authorization="Bearer new")
        clients.send(1, authorization="Bearer old")
        answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 5 + [401]
