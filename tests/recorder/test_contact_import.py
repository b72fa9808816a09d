"""A file of contacts is imported to its end, each contact once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from recorder import contact_import
from recorder.contact_import import ContactImport
from shared.compose import contact_entries
from shared.compose.contact_entries import IMPORT
from shared.errors import StoreUnavailable
from shared.store import contacts, tasks
from shared.store.tasks import Task, TaskFailed
from tests.store.env import StoreEnv
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.waiting import eventually

INCARNATION: Final = "recorder-0.a"
HEAD: Final = "phone,name,tags\n"

OF_IMPORT = {"import.noted": 1, "import.taken": 2}
"""Fail points of an import, and at which time each is hit here."""


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    """A company without contacts."""
    made = StoreEnv(database_url)
    yield made
    made.close()


def begin(env: StoreEnv, content: str, form: str = "csv") -> int:
    """Ask for an import as the API does."""
    task_id = env.store.run(
        tasks.add, company_id="acme", operation=IMPORT, kind="recorder", expires_in_s=600.0, repeatable=True
    )
    query(
        env.url,
        "INSERT INTO contact_imports (task_id, company_id, format, content) "
        "VALUES (%(id)s, 'acme', %(form)s, %(body)s)",
        id=task_id,
        form=form,
        body=content.encode(),
    )
    return task_id


def take(env: StoreEnv) -> Task:
    (task,) = env.store.run(tasks.take, kind="recorder", incarnation=INCARNATION, operations=[IMPORT], most=9)
    return task


def work(env: StoreEnv) -> ContactImport:
    child: Any = SimpleNamespace(store=env.store, identity=SimpleNamespace(process_incarnation=INCARNATION))
    return ContactImport(child)


def test_a_recorder_that_is_killed_goes_on_where_it_was(env: StoreEnv, home: Path) -> None:
    total = 3 * contact_entries.BATCH + 50
    lines = [f"1555030{number:04},Number {number},vip" for number in range(total)]
    lines[120] = "nonsense,Nobody,"
    task_id = begin(env, HEAD + "\n".join(lines))
    # after the first batch is committed, and before the third is
    points = ",".join(f"recorder:{point}=kill@{time}" for point, time in OF_IMPORT.items())
    with Entry("recorder", home, database_url=env.url, chaos="on", crash_points=points) as recorder:
        for _ in range(2):
            recorder.start()
            assert recorder.wait_exit(60.0) == -9
        recorder.start()
        eventually(lambda: task(env, task_id)["state"] in ("done", "failed"), 60.0, lambda: str(task(env, task_id)))
    ended = task(env, task_id)
    assert (ended["state"], ended["attempt"]) == ("done", 3)
    reason = "has no number or id, or one that cannot be one: write a number as +15550100200"
    assert ended["result"] == {
        "created": total - 1,
        "updated": 0,
        "unchanged": 0,
        "failed": 1,
        "errors": [{"line": 122, "field": "aliases", "reason": reason}],
    }
    assert ended["progress"]["done"] == ended["progress"]["total"] == total
    (row,) = query(env.url, "SELECT count(*) AS people, count(DISTINCT name) AS names FROM people")
    assert row == {"people": total - 1, "names": total - 1}
    (row,) = query(env.url, "SELECT count(*) AS events FROM events WHERE type = 'contact.created'")
    assert row["events"] == total - 1
    (row,) = query(env.url, "SELECT content FROM contact_imports")
    assert bytes(row["content"]) == b"", "nothing of the file is kept"
    asyncio.run(work(env).prune())
    assert query(env.url, "SELECT 1 FROM contact_imports") == []


def task(env: StoreEnv, task_id: int) -> Any:
    return query(env.url, "SELECT * FROM tasks WHERE id = %(id)s", id=task_id)[0]


def test_a_contact_that_cannot_be_changed_stops_no_other(env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, real = set(), contact_entries.next_lines

    def next_lines(entries: Any) -> Any:
        threads.add(threading.current_thread())
        return real(entries)

    monkeypatch.setattr(contact_import, "next_lines", next_lines)
    head = "phone," + ",".join(f"f{number}" for number in range(30))
    begin(env, f"{head}\n15550401001,{','.join('x' * 30)}")
    asyncio.run(work(env).take_in(take(env)))
    head = "phone," + ",".join(f"g{number}" for number in range(30))
    begin(env, f"{head}\n15550401001,{','.join('x' * 30)}\n15550401002{',' * 30}")
    result = asyncio.run(work(env).take_in(take(env)))
    assert (result["created"], result["failed"]) == (1, 1)
    reason = f"A person has at most {contacts.FIELDS_MOST} custom fields."
    assert result["errors"] == [{"line": 2, "field": "customFields", "reason": reason}]
    assert threading.current_thread() not in threads, "a file is read beside the event loop"


def test_a_file_that_cannot_be_read_to_its_end_changes_nothing(env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(env, HEAD + "15550401101,Ada,\n" + '15550401102,"Bob')
    with pytest.raises(TaskFailed, match="line 3"):
        asyncio.run(work(env).take_in(take(env)))
    monkeypatch.setattr(contact_entries, "CONTACTS_MOST", 1)
    begin(env, HEAD + "15550401101,Ada,\n15550401102,Bob,\n")
    with pytest.raises(TaskFailed, match="has 2 contacts, and may have 1: divide it"):
        asyncio.run(work(env).take_in(take(env)))
    assert query(env.url, "SELECT 1 FROM people") == []


def test_another_life_that_is_still_at_it_writes_nothing_more(env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_entries, "BATCH", 100)
    begin(env, HEAD + "\n".join(f"1555040{number:04}" for number in range(2000, 2150)))
    taken = take(env)

    def hit(point: str) -> None:
        if point == "import.noted":
            query(env.url, "UPDATE tasks SET incarnation = 'recorder-0.b'")

    monkeypatch.setattr(contact_import, "hit", hit)
    with pytest.raises(TaskFailed, match="another process"):
        asyncio.run(work(env).take_in(taken))
    (row,) = query(env.url, "SELECT count(*) AS people FROM people")
    assert row["people"] == 100


def test_a_commit_whose_answer_was_lost_is_not_repeated(env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_entries, "BATCH", 100)
    begin(env, HEAD + "\n".join(f"1555040{number:04}" for number in range(3000, 3150)))
    taken, store = take(env), env.store
    real = store.call
    lost: list[Any] = []

    async def call(function: Any, *args: Any, **named: Any) -> Any:
        found = await real(function, *args, **named)
        if getattr(function, "__name__", "") == "write" and not lost:
            lost.append(found)
            raise StoreUnavailable("the connection was lost", outage="away")
        return found

    monkeypatch.setattr(store, "call", call)
    result = asyncio.run(work(env).take_in(taken))
    assert (result["created"], result["unchanged"]) == (150, 0)
