"""Whether a process may live beside those of other hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import SettingsInvalid
from shared.process import place
from shared.process.place import HostPlace, problems, problems_with_elders, require_place, watch_place
from shared.settings import ChildEnvironment, Settings
from shared.store import processes
from shared.store.processes import HeartbeatRow, OtherHome
from shared.store.store import Store
from tests.support.database import query
from tests.support.waiting import within


def other(*, uptime_s: float = 100.0, **facts: str) -> OtherHome:
    return OtherHome(host="b", slot="meta-0", beat="1", lease_left_s=30.0, uptime_s=uptime_s, shared_facts=facts)


class TestIdentity:
    def test_processes_that_start_together_agree_on_it(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as starting:
            found = set(starting.map(lambda _: place.home_id(tmp_path / "home"), range(8)))
        assert len(found) == 1
        assert found == {place.home_id(tmp_path / "home")}
        assert [path.name for path in (tmp_path / "home").iterdir()] == ["home_id"]

    def test_one_folder_mounted_twice_is_one_storage(self, tmp_path: Path) -> None:
        """Two homes whose `media` is the same folder have common files; two of their own have not."""
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
        (tmp_path / "media").mkdir()
        for name in ("one", "two"):
            (tmp_path / name / "media").symlink_to(tmp_path / "media")
        facts = [place.shared_facts(Settings(bulkhead_home=tmp_path / name)) for name in ("one", "two", "three")]
        assert facts[0] == facts[1] != facts[2]


@pytest.mark.fast
class TestProblems:
    def test_what_both_have_must_be_equal(self) -> None:
        (problem,) = problems({"META_APP_SECRET": "a", "API_KEY": "k"}, [other(META_APP_SECRET="b", API_KEY="k")])
        assert problem.startswith("META_APP_SECRET is not the one of host b")

    def test_what_one_of_them_does_not_use_is_no_matter(self) -> None:
        assert problems({"META_APP_SECRET": "a"}, [other(MEDIA_STORAGE="x")]) == []

    def test_each_setting_is_named_once(self) -> None:
        found = problems({"MEDIA_STORAGE": "a"}, [other(MEDIA_STORAGE="b"), other(MEDIA_STORAGE="b")])
        assert len(found) == 1
        assert "BULKHEAD_HOME/media" in found[0]

    def test_digests_depend_on_the_key(self, tmp_path: Path) -> None:
        """Who reads the database cannot try guesses of a short key."""
        made = [
            place.shared_facts(Settings(bulkhead_home=tmp_path, api_key="12345678", secret_encryption_key=key))
            for key in ("a", "b", "b")
        ]
        assert made[0]["API_KEY"] != made[1]["API_KEY"] == made[2]["API_KEY"]


@pytest.mark.fast
class TestLater:
    """A host that was cut off when another one started is compared once it is back; of two, the elder stays."""

    @pytest.mark.parametrize(
        ("host", "uptime_s", "refused"),
        [("c", 50.0, True), ("c", 150.0, False), ("c", 100.5, True), ("a", 99.5, False)],
    )
    def test_the_younger_one_leaves(self, host: str, uptime_s: float, refused: bool) -> None:
        own = HostPlace(host=host, home_id="own", shared_facts={"API_KEY": "k"})
        found = problems_with_elders(own, uptime_s, [other(API_KEY="other")])
        assert [one.startswith("API_KEY is not the one of host b") for one in found] == [True] * refused

    def test_what_fits_stays(self) -> None:
        own = HostPlace(host="c", home_id="own", shared_facts={"API_KEY": "k"})
        assert problems_with_elders(own, 1.0, [other(API_KEY="k")]) == []


class TestName:
    @pytest.fixture
    def store(self, database_url: str, settings: Callable[..., Settings]) -> Store:
        return Store.open(settings(database_url=database_url), ChildEnvironment(process_name="meta"), limit=2)

    def beat(
        self, store: Store, home: str, *, lease_s: float, uptime_s: float = 1.0, shared_facts: Mapping[str, str] = {}
    ) -> bool:
        return store.run(
            processes.write_heartbeat,
            HeartbeatRow(
                kind="meta",
                instance=0,
                status="ready",
                uptime_s=uptime_s,
                memory_mb=1,
                connections=1,
                pid=1,
                host="a",
                incarnation=f"meta-0.{home}@a",
                lease_s=lease_s,
                home_id=home,
                shared_facts=shared_facts,
            ),
        )

    def test_a_second_home_with_the_name_of_a_living_one_is_refused(self, store: Store) -> None:
        self.beat(store, "one", lease_s=40.0)
        waited = []

        def beats_again(left_s: float) -> None:
            waited.append(left_s)
            self.beat(store, "one", lease_s=40.0)

        with pytest.raises(SettingsInvalid, match="BULKHEAD_HOST=a: another installation"):
            asyncio.run(require_place(store, HostPlace(host="a", home_id="two", shared_facts={}), beats_again))
        assert 30.0 < waited[0] <= 40.0
        assert not self.beat(store, "two", lease_s=40.0), "nor does it get a lease"
        asyncio.run(require_place(store, HostPlace(host="b", home_id="two", shared_facts={})))
        store.close()

    def test_the_name_of_a_dead_one_is_free_when_its_lease_has_run_out(self, store: Store, database_url: str) -> None:
        """A container that starts again under its name has a new home, and the old one cannot come back."""
        self.beat(store, "one", lease_s=1.5)
        asyncio.run(require_place(store, HostPlace(host="a", home_id="two", shared_facts={})))
        assert self.beat(store, "two", lease_s=40.0)
        assert not self.beat(store, "one", lease_s=40.0), "the first one is fenced"
        assert query(database_url, "SELECT home_id FROM process_heartbeats") == [{"home_id": "two"}]
        store.close()

    def test_a_host_with_another_key_that_comes_back_is_seen(self, store: Store) -> None:
        own = HostPlace(host="b", home_id="two", shared_facts={"API_KEY": "k"})

        async def watch() -> None:
            watching = asyncio.create_task(watch_place(store, own, lambda: 0.5, every_s=0.05))
            await asyncio.wait({watching}, timeout=0.3)
            assert not watching.done(), "none is there"
            self.beat(store, "one", lease_s=40.0, uptime_s=60.0, shared_facts={"API_KEY": "other"})
            await within(watching, 10)

        with pytest.raises(SettingsInvalid, match="API_KEY is not the one of host a"):
            asyncio.run(watch())
        store.close()
