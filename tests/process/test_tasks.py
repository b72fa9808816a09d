"""Tasks: added, taken by one, finished by that one alone, given back after a death, ended when their time is over."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shared.kinds import kind_named
from shared.process.beats import Beats
from shared.process.heartbeat import Heartbeat
from shared.process.metrics import Metrics
from shared.process.service import Child
from shared.process.tasks import Handler, TaskRunner
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import ChildEnvironment, Settings
from shared.store import tasks
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed
from tests.delivery.env import run, soon
from tests.store.env import StoreEnv, side_by_side
from tests.support import environment
from tests.support.database import query
from tests.support.waiting import deadline_s, eventually_async


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    """A company with one connection."""
    made = StoreEnv(database_url)
    yield made
    made.close()


def add(env: StoreEnv, operation: str = "test", *, expires_in_s: float = 30.0, **fields: Any) -> int:
    """Add a task on the first connection."""
    return env.store.run(
        tasks.add,
        company_id="acme",
        operation=operation,
        connection_id=env.connection,
        expires_in_s=expires_in_s,
        **fields,
    )


def take(env: StoreEnv, incarnation: str = "meta-0.a", *, most: int = 10) -> list[Task]:
    """Take tasks of kind meta."""
    return env.store.run(tasks.take, kind="meta", incarnation=incarnation, operations=["test"], most=most)


def look(env: StoreEnv, task_id: int) -> Mapping[str, Any]:
    """Return a task as the API sees it."""
    row = env.store.run(tasks.by_id, company_id="acme", task_id=task_id)
    assert row is not None
    return row


def row(env: StoreEnv, task_id: int) -> Mapping[str, Any]:
    """Return a task as it is stored."""
    return query(env.url, "SELECT * FROM tasks WHERE id = %(id)s", id=task_id)[0]


class Process:
    """What a runner stands on, and the runner."""

    def __init__(
        self, store: Store, handlers: Mapping[str, Handler], incarnation: str = "meta-0.b", *, at_once: int = 8
    ) -> None:
        identity = ChildEnvironment(process_name="meta", process_incarnation=incarnation)
        metrics = Metrics()
        self.errors: list[BaseException] = []
        self.child = Child(
            kind=kind_named("meta"),
            settings=Settings(),
            identity=identity,
            supervision=None,
            store=store,
            metrics=metrics,
            beats=Beats(),
            stopping=asyncio.Event(),
            heartbeat=Heartbeat(store, identity, metrics, host="here", interval_s=10, status=lambda: "ready"),
            uncaught=lambda error, _: self.errors.append(error),
        )
        self.runner = TaskRunner(self.child, handlers, at_once=at_once)

    async def __aenter__(self) -> Process:
        self.runner.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.close()
        await self.child.cancel_tasks()
        assert not self.errors


async def ended(env: StoreEnv, task_id: int) -> Mapping[str, Any]:
    """Wait until a task has ended."""

    async def asked() -> Mapping[str, Any] | None:
        found = await env.store.call(tasks.by_id, company_id="acme", task_id=task_id)
        return found if found and found["state"] in ("done", "failed") else None

    found = await eventually_async(asked, 15.0, "the task ends")
    assert found is not None
    return found


def test_two_processes_never_take_the_same(env: StoreEnv) -> None:
    ids = {add(env) for _ in range(40)}
    # with room enough for one company to have all of them
    taken = side_by_side(
        *((lambda name=name: take(env, name, most=80)) for name in ("meta-0.a", "meta-1.a", "meta-0.b"))
    )
    assert sorted(task.id for some in taken for task in some) == sorted(ids)


def of(env: StoreEnv, company_id: str | None, *, many: int = 1) -> list[int]:
    """Add tasks of a company, or of the installation, and return their ids."""
    rows = query(
        env.url,
        """INSERT INTO tasks (company_id, process_name, operation, expires_at)
           SELECT %(company_id)s, 'meta', 'test', now() + interval '1 minute' FROM generate_series(1, %(many)s)
           RETURNING id""",
        company_id=company_id,
        many=many,
    )
    return [row["id"] for row in rows]


def test_one_company_whose_tasks_hang_leaves_places_to_the_next(env: StoreEnv) -> None:
    env.connect("globex")
    hanging = of(env, "acme", many=40)
    assert [task.id for task in take(env, most=16)] == hanging[:8], "half of the places, the oldest first"
    # none of them ends, and another look finds no place for more
    assert take(env, most=8) == []
    others = of(env, "globex", many=8) + of(env, None)
    assert sorted(task.id for task in take(env, most=8)) == sorted([*others[:4], others[-1]])
    # what another process runs is its own matter
    assert len(take(env, "meta-1.a", most=16)) > 8


def test_companies_take_turns_where_there_is_one_place(env: StoreEnv) -> None:
    env.connect("globex")
    of(env, "acme", many=3)
    of(env, "globex", many=2)
    of(env, None, many=1)
    after, served = "", list[str | None]()
    while taken := env.store.run(
        tasks.take, kind="meta", incarnation=f"meta-0.{len(served)}", operations=["test"], most=1, after=after
    ):
        after = tasks.last_company(taken, after)
        served.append(taken[0].company_id)
    assert served == ["acme", "globex", None, "acme", "globex", "acme"]


def test_a_look_costs_what_it_takes_and_not_what_waits(env: StoreEnv) -> None:
    env.connect("globex")
    of(env, "acme", many=20_000)
    other = of(env, "globex")

    def looked(transaction: Transaction) -> tuple[list[Task], int]:
        found = tasks.take(transaction, kind="meta", incarnation="meta-0.a", operations=["test"], most=16)
        pages = """SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class
                   WHERE oid = 'tasks'::regclass
                     OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'tasks'::regclass)"""
        transaction._cursor.execute(pages)
        return found, int(transaction._cursor.fetchone()[0])

    found, pages = env.store.run(looked)
    assert len(found) == 9 and other[0] in {task.id for task in found}
    assert pages < 600, "twenty thousand rows have many more"


def test_only_its_owner_ends_a_task_and_only_once(env: StoreEnv) -> None:
    task_id = add(env)
    take(env)
    write = env.store.run
    assert not write(tasks.finish, task_id=task_id, incarnation="meta-1.x", result={})
    assert write(tasks.finish, task_id=task_id, incarnation="meta-0.a", result={"a": "b\0c"})
    assert not write(tasks.fail, task_id=task_id, incarnation="meta-0.a", code="refused", problem="late")
    assert (look(env, task_id)["state"], look(env, task_id)["result"]) == (
        "done",
        {"a": "b\N{REPLACEMENT CHARACTER}c"},
    )


def test_another_company_sees_nothing_of_it(env: StoreEnv) -> None:
    assert env.store.run(tasks.by_id, company_id="other", task_id=add(env)) is None


def test_what_a_dead_incarnation_had_is_queued_again_or_failed(env: StoreEnv) -> None:
    again, never = add(env, repeatable=True), add(env, sealed="something")
    assert len(take(env, "meta-0.dead")) == 2
    kept = add(env)
    take(env, "meta-1.alive")
    moved = env.store.run(tasks.reclaim, dead="meta-0.dead")
    assert {one["id"]: one["state"] for one in moved} == {again: "queued", never: "failed"}
    assert (look(env, never)["problem_code"], row(env, never)["sealed"]) == ("interrupted", "")
    assert look(env, kept)["state"] == "running"
    assert env.store.run(tasks.reclaim, dead="meta-0.dead") == []


def test_a_task_that_kills_its_process_is_not_begun_for_ever(env: StoreEnv) -> None:
    task_id = add(env, repeatable=True)
    for life in range(tasks.MOST_ATTEMPTS):
        assert [task.attempt for task in take(env, f"meta-0.{life}")] == [life + 1]
        env.store.run(tasks.reclaim_earlier_lives, slot="meta-0", living="meta-0.next")
    assert (look(env, task_id)["state"], look(env, task_id)["problem_code"]) == ("failed", "interrupted")


def test_an_unfinished_task_counts_as_failed(env: StoreEnv) -> None:
    task_id = add(env)
    query(env.url, "UPDATE tasks SET expires_at = now() - interval '3 seconds'")
    assert take(env) == []
    assert (look(env, task_id)["state"], look(env, task_id)["problem_code"]) == ("failed", "expired")
    assert env.store.run(tasks.expire, kind="meta") == 1
    assert row(env, task_id)["state"] == "failed"
    query(env.url, "UPDATE tasks SET finished_at = now() - interval '8 days'")
    assert env.store.run(tasks.forget, older_s=7 * 86400.0) == 1


def test_secrets_open_only_in_a_task_of_the_same_company_and_operation(env: StoreEnv) -> None:
    vault = Vault("k1", os.urandom(32))
    sealed = tasks.seal_secrets(vault, "acme", "test", {"pin": "123456"})
    assert "123456" not in sealed
    assert base64.b64encode(b"123456").decode() not in sealed
    add(env, sealed=sealed)
    (task,) = take(env)
    assert tasks.open_secrets(vault, task) == {"pin": "123456"}
    assert "sealed" not in repr(task)
    with pytest.raises(SecretUnreadable):
        vault.open(Sealed.from_text(sealed), context="tasks/other/test")


def test_a_runner_does_what_is_asked_and_reports_the_outcome(env: StoreEnv) -> None:
    async def good(task: Task) -> Mapping[str, Any]:
        return {"got": task.arguments["n"]}

    async def bad(_: Task) -> Mapping[str, Any]:
        raise TaskFailed("refused", "the provider says no to +49 170 1234567", step="register")

    async def broken(_: Task) -> Mapping[str, Any]:
        raise KeyError("secret")

    async def slow(_: Task) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def scenario() -> None:
        async with Process(env.store, {"good": good, "bad": bad, "broken": broken, "slow": slow}) as process:
            ids = {
                name: add(env, name, arguments={"n": 7}, expires_in_s=2.0 if name == "slow" else 30.0)
                for name in ("good", "bad", "broken", "slow")
            }
            rows = {name: await ended(env, task_id) for name, task_id in ids.items()}
            assert (rows["good"]["state"], rows["good"]["result"]) == ("done", {"got": 7})
            assert (rows["bad"]["problem_code"], rows["bad"]["result"]) == ("refused", {"step": "register"})
            assert "1234567" not in rows["bad"]["problem"]
            assert (rows["broken"]["problem_code"], process.child.heartbeat.errors) == ("internal", 1)
            assert "secret" not in rows["broken"]["problem"]
            assert rows["slow"]["problem_code"] == "expired"

    run(scenario())


def test_a_runner_leaves_other_operations_and_takes_no_more_than_it_has_room_for(env: StoreEnv) -> None:
    inside = most = 0
    go = asyncio.Event()

    async def counted(_: Task) -> Mapping[str, Any]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await go.wait()
        inside -= 1
        return {}

    async def scenario() -> None:
        ids = [add(env) for _ in range(5)]
        other = add(env, "unknown")
        async with Process(env.store, {"test": counted}, at_once=4):
            await soon(lambda: inside == 2, "half of the places are one company's")
            go.set()
            for task_id in ids:
                await ended(env, task_id)
        assert most == 2
        assert look(env, other)["state"] == "queued"

    run(scenario())


def test_a_drain_finishes_what_is_in_hand_and_a_close_leaves_it_to_the_next_life(env: StoreEnv) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(_: Task) -> Mapping[str, Any]:
        begun.set()
        await go.wait()
        return {}

    async def scenario() -> None:
        finished = add(env)
        async with Process(env.store, {"test": waits}) as process:
            await begun.wait()
            asyncio.get_running_loop().call_later(0.1, go.set)
            assert await process.runner.drain(asyncio.get_running_loop().time() + 10)
        assert look(env, finished)["state"] == "done"
        begun.clear()
        go.clear()
        cut = add(env, repeatable=True)
        async with Process(env.store, {"test": waits}, "meta-0.c") as process:
            await begun.wait()
            assert not await process.runner.drain(0.0)
        assert look(env, cut)["state"] == "running"
        go.set()
        async with Process(env.store, {"test": waits}, "meta-0.d"):
            assert (await ended(env, cut))["attempt"] == 2

    run(scenario())


KILLED = """
import asyncio, os, sys
from tests.process.test_tasks import Process
from tests.store.env import open_store

async def hangs(task):
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    async with Process(open_store(sys.argv[1]), {"test": hangs}, "meta-0.killed"):
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_process_loses_no_task(env: StoreEnv) -> None:
    task_id = add(env, repeatable=True)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, env.url],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGKILL)
        process.wait(deadline_s(10))
    assert look(env, task_id)["state"] == "running"

    async def done(_: Task) -> Mapping[str, Any]:
        return {"by": "the next life"}

    async def scenario() -> None:
        async with Process(env.store, {"test": done}, "meta-0.next"):
            assert (await ended(env, task_id))["result"] == {"by": "the next life"}

    run(scenario())


def test_every_failure_has_a_word() -> None:
    with pytest.raises(ValueError, match="no way in which a task fails"):
        TaskFailed("whatever", "no")
