"""Both storages by one set of tests: a directory, and a bucket whose server checks every signature."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shared.errors import SettingsInvalid
from shared.media.errors import MediaTooLarge, MediaUnknown, StorageUnavailable
from shared.media.storage import HEAD_BYTES, Storage, open_storage
from shared.settings import Settings, load
from tests.support.bucket import BUCKET, KEY_ID, REGION, SECRET, Bucket
from tests.support.waiting import within

_T = TypeVar("_T")
BIG = os.urandom(11 * 1024 * 1024)


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(within(work, 60))


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def in_bucket(bucket: Bucket, **more: str) -> Settings:
    own = {"MEDIA_STORAGE": f"s3://{BUCKET}/bulk/head", "MEDIA_S3_URL": bucket.url, "MEDIA_S3_REGION": REGION}
    return load(own | {"MEDIA_S3_KEY_ID": KEY_ID, "MEDIA_S3_SECRET": SECRET} | more)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as started:
        yield started


@pytest.fixture(params=["directory", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "directory":
        yield open_storage(load({"BULKHEAD_HOME": str(tmp_path)}))
        return
    bucket: Bucket = request.getfixturevalue("bucket")
    yield open_storage(in_bucket(bucket))
    assert bucket.refused == []


@pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["empty", "one byte", "11 MB"])
def test_what_is_put_is_read(storage: Storage, content: bytes) -> None:
    async def scenario() -> None:
        stored = await storage.put("acme", pieces(content), most=len(content))
        assert (stored.sha256, stored.size, stored.head) == (
            hashlib.sha256(content).hexdigest(),
            len(content),
            content[:HEAD_BYTES],
        )
        assert await storage.read("acme", stored.sha256) == content
        assert b"".join([piece async for piece in storage.stream("acme", stored.sha256)]) == content
        assert await storage.size("acme", stored.sha256) == len(content)
        assert await storage.put("acme", pieces(content, 7_000_000), most=len(content)) == stored, "twice is once"

    run(scenario())


def test_companies_do_not_mix(storage: Storage) -> None:
    async def scenario() -> None:
        stored = await storage.put("acme", pieces(b"secret"), most=100)
        with pytest.raises(MediaUnknown):
            await storage.read("other", stored.sha256)
        with pytest.raises(MediaUnknown):
            await storage.size("other", stored.sha256)
        await storage.delete("other", stored.sha256)
        assert await storage.read("acme", stored.sha256) == b"secret"

    run(scenario())


@pytest.mark.parametrize(
    ("company", "sha256"),
    [("..", "0" * 64), ("acme", "../../../../etc/passwd"), ("a/b", "0" * 64), ("", "0" * 64), ("acme", "0" * 63 + "g")],
)
def test_names_that_reach_elsewhere_are_unknown(storage: Storage, company: str, sha256: str) -> None:
    async def scenario() -> None:
        for work in (storage.read(company, sha256), storage.size(company, sha256), storage.delete(company, sha256)):
            with pytest.raises(MediaUnknown):
                await work

    run(scenario())


def test_a_file_that_is_too_large_leaves_nothing(storage: Storage) -> None:
    async def scenario() -> None:
        with pytest.raises(MediaTooLarge):
            await storage.put("acme", pieces(b"12345"), most=4)
        with pytest.raises(MediaUnknown):
            await storage.read("acme", hashlib.sha256(b"12345").hexdigest())

    run(scenario())


def test_a_source_that_breaks_off_leaves_nothing(storage: Storage) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    async def scenario() -> None:
        with pytest.raises(ConnectionResetError):
            await storage.put("acme", broken(), most=100)
        with pytest.raises(MediaUnknown):
            await storage.read("acme", hashlib.sha256(b"half").hexdigest())

    run(scenario())


def test_delete(storage: Storage) -> None:
    async def scenario() -> None:
        stored = await storage.put("acme", pieces(b"old"), most=100)
        now = datetime.now(UTC)
        assert not await storage.delete("acme", stored.sha256, unless_since=now - timedelta(hours=1)), (
            "somebody has put it since"
        )
        assert await storage.read("acme", stored.sha256) == b"old"
        assert await storage.delete("acme", stored.sha256, unless_since=now + timedelta(hours=1))
        assert await storage.delete("acme", stored.sha256), "gone is gone"
        assert await storage.delete("acme", stored.sha256, unless_since=now)
        with pytest.raises(MediaUnknown):
            await storage.read("acme", stored.sha256)
        with pytest.raises(MediaUnknown):
            [piece async for piece in storage.stream("acme", stored.sha256)]

    run(scenario())


class TestDirectory:
    def test_files_are_for_their_owner_only_and_nothing_half_written_stays(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            storage = open_storage(load({"BULKHEAD_HOME": str(tmp_path)}))
            await storage.put("acme", pieces(b"x"), most=10)
            with pytest.raises(MediaTooLarge):
                await storage.put("acme", pieces(b"y" * 100), most=10)

        run(scenario())
        found = [path for path in (tmp_path / "media").rglob("*") if path.is_file()]
        assert [path.name for path in found] == [hashlib.sha256(b"x").hexdigest()]
        assert found[0].stat().st_mode & 0o077 == 0
        assert (tmp_path / "media" / "acme").stat().st_mode & 0o077 == 0

    def test_a_damaged_file_is_whole_again_after_the_next_put(self, tmp_path: Path) -> None:
        async def scenario() -> bytes:
            storage = open_storage(load({"BULKHEAD_HOME": str(tmp_path)}))
            stored = await storage.put("acme", pieces(b"whole"), most=10)
            next((tmp_path / "media").rglob(stored.sha256)).write_bytes(b"wh")
            await storage.put("acme", pieces(b"whole"), most=10)
            return await storage.read("acme", stored.sha256)

        assert run(scenario()) == b"whole"

    def test_what_a_killed_process_left_half_written_goes(self, tmp_path: Path) -> None:
        arriving = tmp_path / "media" / "acme" / "arriving"
        arriving.mkdir(parents=True)
        for name, age_s in (("old", 90_000), ("young", 60)):
            (arriving / name).write_bytes(b"half")
            os.utime(arriving / name, (time.time() - age_s,) * 2)
        run(open_storage(load({"BULKHEAD_HOME": str(tmp_path)})).put("acme", pieces(b"x"), most=10))
        assert [path.name for path in arriving.iterdir()] == ["young"]

    def test_a_place_that_cannot_be_written_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "media").write_text("a file where a directory should be")

        async def scenario() -> None:
            storage = open_storage(load({"BULKHEAD_HOME": str(tmp_path)}))
            with pytest.raises(StorageUnavailable):
                await storage.put("acme", pieces(b"x"), most=10)
            with pytest.raises(StorageUnavailable):
                await storage.read("acme", "0" * 64)

        run(scenario())


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may become larger than 150 kB: to a writer that is a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("place", ["directory", "bucket"])
def test_a_full_disk_refuses_the_file_and_keeps_nothing(tmp_path: Path, bucket: Bucket, place: str) -> None:
    settings = load({"BULKHEAD_HOME": str(tmp_path)}) if place == "directory" else in_bucket(bucket)

    async def scenario() -> None:
        storage = open_storage(settings)
        for content, size in ((BIG[:400_000], 100_000), (BIG[:160_000], 160_000), (BIG[:150_001], 10_000)):
            with pytest.raises(StorageUnavailable):
                await storage.put("acme", pieces(content, size), most=len(BIG))
        assert (await storage.put("acme", pieces(b"small"), most=10)).size == 5
        await storage.close()

    run(scenario())
    assert [path for path in tmp_path.rglob("arriving/*") if path.is_file()] == []


class TestBucket:
    def test_names_lie_under_the_prefix_and_the_company(self, bucket: Bucket) -> None:
        stored = run(open_storage(in_bucket(bucket)).put("acme", pieces(b"x"), most=10))
        assert bucket.objects == {f"bulk/head/acme/{stored.sha256[:2]}/{stored.sha256}": b"x"}

    @pytest.mark.parametrize("work", ["put", "read", "size", "delete"])
    def test_a_bucket_that_fails_or_does_not_believe_us_is_unavailable(self, bucket: Bucket, work: str) -> None:
        async def scenario(storage: Storage) -> None:
            calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
                "put": lambda: storage.put("acme", pieces(b"x"), most=10),
                "read": lambda: storage.read("acme", "0" * 64),
                "size": lambda: storage.size("acme", "0" * 64),
                "delete": lambda: storage.delete("acme", "0" * 64),
            }
            with pytest.raises(StorageUnavailable) as unavailable:
                await calls[work]()
            assert bucket.url not in str(unavailable.value)

        bucket.failing = 501
        run(scenario(open_storage(in_bucket(bucket))))
        bucket.failing = 0
        run(scenario(open_storage(in_bucket(bucket, MEDIA_S3_SECRET="wrong"))))
        assert set(bucket.refused) == {"the signature is wrong"}
        assert bucket.objects == {}

    @pytest.mark.parametrize("address", ["s3:///prefix", "s3:bucket", "s3://bucket?x=1"])
    def test_addresses_that_name_no_bucket(self, address: str) -> None:
        with pytest.raises(SettingsInvalid):
            open_storage(load({"MEDIA_STORAGE": address}))
