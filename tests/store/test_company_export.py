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
from shared.store.tasks import Task
from tests.store.env import StoreEnv, query


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def exported(env: StoreEnv, storage: LocalStorage, **fields: Any) -> tuple[CompanyExport, dict[str, Any]]:
    """Make an archive of acme as the recorder does, and return what its task answers."""
    env.store.run(tasks.add, company_id="acme", operation=EXPORT, kind="recorder", expires_in_s=60.0)
    (task,) = env.store.run(tasks.take, kind="recorder", incarnation="recorder-0.a", operations=[EXPORT], most=1)
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


def test_an_archive_goes_when_its_time_is_over(env: StoreEnv, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "media")
    export, result = exported(env, storage)
    asyncio.run(export.prune())
    assert asyncio.run(storage.size("acme", result["sha256"]))
    query(env.url, "UPDATE company_exports SET expires_at = now()")
    asyncio.run(export.prune())
    assert query(env.url, "SELECT 1 FROM company_exports") == []
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []
