"""An export holds everything of one company but its secrets, is made in bounded memory, and goes when its time is
over.
"""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recorder import company_export
from recorder.company_export import EXPORT, PARTS, CompanyExport
from shared.media.local import LocalStorage
from shared.store import media, tasks
from shared.store.tasks import Task, TaskFailed
from tests.store.env import StoreEnv
from tests.support.database import query


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def exported(env: StoreEnv, storage: LocalStorage, **fields: Any) -> tuple[CompanyExport, dict[str, Any]]:
    """Make an archive of acme as the recorder does, and return what its task answers."""
    env.store.run(tasks.add, company_id="acme", operation=EXPORT, kind="recorder", expires_in_s=60.0)
    # of two places: a company that holds one gets no last one, and the task of an earlier archive is not ended here
    (task,) = env.store.run(tasks.take, kind="recorder", incarnation="recorder-0.a", operations=[EXPORT], most=2)
    child: Any = SimpleNamespace(store=env.store, identity=SimpleNamespace(process_incarnation="recorder-0.a"))
    export = CompanyExport(child, storage, **fields)
    return export, dict(asyncio.run(_export(export, task)))


async def _export(export: CompanyExport, task: Task) -> Any:
    return await export.export(task)


def opened(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]  # all are files


def test_an_archive_holds_one_company_whole_and_no_secret(
    env: StoreEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company_export, "_PAGE", 2)
    storage = LocalStorage(tmp_path / "media")
    stored = asyncio.run(storage.put("acme", pieces(b"a file" * 200), most=10_000))
    env.store.run(media.remember, "acme", stored.sha256, size=stored.size, mimetype="text/plain")
    query(env.url, "UPDATE phone_configs SET credentials = 'sealed-credentials'")
    ids = env.accept("a", "b", "c", "d", "e")
    other = env.connect("other")
    env.accept("z", company_id="other", connection_id=other, content={"body": "foreign"})
    _, result = exported(env, storage)
    content = asyncio.run(storage.read("acme", result["sha256"]))
    assert len(content) == result["size"]
    files = opened(content)
    assert {name.partition("/")[0] for name in files} <= {*PARTS, "media"}
    lines = [
        json.loads(line) for name in sorted(files) if name.startswith("messages/") for line in files[name].splitlines()
    ]
    assert [line["id"] for line in lines] == [str(one) for one in ids]
    assert len([name for name in files if name.startswith("messages/")]) == 3, "pages of two"
    assert files[f"media/{stored.sha256}"] == b"a file" * 200
    text = b"".join(files.values())
    assert b"sealed-credentials" not in text
    assert b"foreign" not in text
    (task,) = query(env.url, "SELECT progress FROM tasks")
    assert task["progress"]["files"] == 1


def lines_of(files: dict[str, bytes], part: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for name in sorted(files) if name.startswith(f"{part}/") for line in files[name].splitlines()
    ]


def test_pages_of_people_and_of_rare_messages_miss_none(
    env: StoreEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company_export, "_PAGE", 2)
    monkeypatch.setattr(company_export, "_WALK", 3)
    storage = LocalStorage(tmp_path / "media")
    other, second = env.connect("other"), env.connect("acme", 1)
    rare = env.accept("a", "b", "c")
    env.accept(*"hijklmnopq", company_id="other", connection_id=other)
    rare += env.accept("d")
    env.accept(*"rstuvwxyz", company_id="other", connection_id=other)
    query(
        env.url,
        """INSERT INTO contacts (connection_id, user_id, first_seen_at, last_seen_at)
           SELECT c, u, now(), now()
           FROM unnest(ARRAY[%(a)s, %(b)s, %(c)s]) AS c, unnest(ARRAY['1', '2', 'Ä', 'z', '_']) AS u;
           INSERT INTO people (company_id, id, name, tags, first_seen_at, last_seen_at)
           SELECT 'acme', 900 + n, 'Name', '{vip}', now(), now() FROM generate_series(1, 5) AS n;
           INSERT INTO contact_aliases (company_id, alias, person_id)
           SELECT 'acme', u, 901 FROM unnest(ARRAY['1', '2', 'Ä', 'z', '_']) AS u""",
        a=env.connection,
        b=second,
        c=other,
    )
    _, result = exported(env, storage)
    files = opened(asyncio.run(storage.read("acme", result["sha256"])))
    assert [line["id"] for line in lines_of(files, "messages")] == [str(one) for one in rare]
    seen = [(line["connectionId"], line["userId"]) for line in lines_of(files, "contacts")]
    assert sorted(seen) == sorted((str(c), u) for c in (env.connection, second) for u in "12Äz_")
    assert [(line["personId"], line["tags"]) for line in lines_of(files, "people")] == [
        (str(900 + number), ["vip"]) for number in range(1, 6)
    ]
    assert sorted(line["alias"] for line in lines_of(files, "contact-aliases")) == sorted("12Äz_")


@pytest.mark.parametrize("page", [500, 2])
def test_an_export_ends_with_its_task_and_leaves_nothing(
    env: StoreEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """The company is being deleted meanwhile; whatever is made of it now would stay for ever."""
    monkeypatch.setattr(company_export, "_PAGE", page)
    storage = LocalStorage(tmp_path / "media")
    env.accept("a", "b", "c")

    def note(transaction: Any, **fields: Any) -> bool:
        # with small pages the next note sees it, with large ones there is none before the archive is stored
        if fields["progress"]["stage"] == "messages" and not query(
            env.url, "SELECT 1 FROM tasks WHERE state = 'failed'"
        ):
            transaction.execute("end_tasks", company_id="acme", reason="deleted")
            return True
        return noted(transaction, **fields)

    noted = company_export._note
    monkeypatch.setattr(company_export, "_note", note)
    with pytest.raises(TaskFailed):
        exported(env, storage)
    assert query(env.url, "SELECT 1 FROM company_exports") == []
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


def test_an_archive_goes_when_its_time_is_over(env: StoreEnv, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "media")
    _, first = exported(env, storage)
    query(env.url, "UPDATE company_exports SET expires_at = now()")
    export, result = exported(env, storage)
    assert result["sha256"] == first["sha256"], "nothing has changed between them"
    asyncio.run(export.prune())
    assert len(query(env.url, "SELECT 1 FROM company_exports")) == 1
    assert asyncio.run(storage.size("acme", result["sha256"]))
    query(env.url, "UPDATE company_exports SET expires_at = now()")
    asyncio.run(export.prune())
    assert query(env.url, "SELECT 1 FROM company_exports") == []
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []
