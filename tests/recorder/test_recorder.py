"""The recorder in its own process: what the orchestrator saw stands in the database once, and the dead give back what
they held.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from recorder.journal_follower import JournalFollower
from shared.channels.registry import CHANNELS
from shared.delivery.in_flight_journal import InFlightJournal, Stage, path_of
from shared.errors import StoreUnavailable
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalWriter, SupervisionEvent
from shared.process.metrics import Metrics
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import Settings
from shared.store import connections
from tests.delivery.env import run
from tests.store.env import StoreEnv, away, open_store, open_transaction
from tests.support import environment, ports
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import eventually

ACCOUNTS = {channel.demo.phone_index: channel.demo.account_id for channel in CHANNELS if channel.demo}
KEY = base64.b64encode(b"k" * 32).decode()
SEEN = """SELECT (data ->> 'seq')::int AS seq, data ->> 'boot' AS boot_id, split_part(type, '.', 2) AS event,
                coalesce(kind, '') AS process_name, substring(slot FROM '-([0-9]+)$')::int AS instance,
                coalesce(incarnation, '') AS incarnation, data -> 'detail' AS detail
          FROM events WHERE subject = 'process' ORDER BY id"""
E = SupervisionEvent


class RecorderEnv:
    """One recorder, the orchestrator's journal before it, and messages that a process may hold."""

    def __init__(self, home: Path, database_url: str, *, module: str = "", **variables: Any) -> None:
        self.home, self.url = home, database_url
        self.admin = ports.free_port_block(104)
        given: dict[str, Any] = {
            "database_url": database_url,
            "secret_encryption_key": KEY,
            "admin_port": self.admin,
            "process_admin_port": self.admin,
        }
        self.entry = Entry("recorder", home, module=module, **(given | variables))
        self.journal = JournalWriter(home, "boot-1")

    def start(self) -> RecorderEnv:
        """Start it and wait until it may work."""
        self.entry.start().wait_ready()
        return self

    def notify(self) -> None:
        """Say that there is something new in the journal."""
        self.entry.ask("notify")

    def events(self) -> list[Mapping[str, Any]]:
        """Return the events in the database."""
        return query(self.url, SEEN)

    def until_seen(self, *seqs: int) -> None:
        """Wait until exactly these entries stand in the database."""
        eventually(
            lambda: [row["seq"] for row in self.events()] == list(seqs),
            15,
            lambda: f"{self.events()}\n{self.entry.log.read_text()}",
        )

    def position(self) -> int:
        """Return how far it has read for good."""
        path = self.home / "run/events.recorder.position"
        return int(path.read_text()) if path.exists() else 0

    def get(self, path: str) -> requests.Response:
        """Ask it."""
        with requests.Session() as client:
            client.trust_env = False
            return client.get(f"http://127.0.0.1:{self.admin}{path}", timeout=10)

    def close(self) -> None:
        """End it."""
        self.entry.close()
        self.journal.close()


@pytest.fixture
def new_env(home: Path, database_url: str) -> Iterator[Callable[..., RecorderEnv]]:
    """Function that returns a recorder, not started."""
    made: list[RecorderEnv] = []

    def build(url: str = database_url, **variables: Any) -> RecorderEnv:
        made.append(RecorderEnv(home, url, **variables))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    """Messages in the recorder's database."""
    made = StoreEnv(database_url)
    yield made
    made.close()


class TestJournal:
    def test_what_was_seen_becomes_rows(self, new_env: Callable[..., RecorderEnv]) -> None:
        recorder = new_env()
        recorder.journal.write(E.ORCHESTRATOR_STARTED, pid=7)
        recorder.start()
        recorder.until_seen(1)
        recorder.journal.write(E.STARTED, slot="meta-1", kind="meta", instance=1, incarnation="meta-1.a", pid=8)
        recorder.journal.write(
            E.EXITED,
            slot="meta-1",
            kind="meta",
            instance=1,
            incarnation="meta-1.a",
            code=1,
            log_tail="odd \0 bytes \ud83d",
        )
        recorder.notify()
        recorder.until_seen(1, 2, 3)
        started, exited = recorder.events()[1:]
        assert (
            started["event"],
            started["process_name"],
            started["instance"],
            started["incarnation"],
            started["detail"],
        ) == (
            "started",
            "meta",
            1,
            "meta-1.a",
            {"pid": 8},
        )
        assert exited["detail"] == {"code": 1, "log_tail": "odd \ufffd bytes \ufffd"}
        assert recorder.events()[0]["instance"] is None, "no slot, no instance"
        assert recorder.entry.stop() == ExitCode.OK
        assert recorder.position() == 3

    def test_it_is_read_without_a_notification_too_and_to_the_end_before_exit(
        self, new_env: Callable[..., RecorderEnv]
    ) -> None:
        recorder = new_env().start()
        recorder.journal.write(E.READY, slot="meta-0", kind="meta", incarnation="meta-0.a")
        recorder.until_seen(1)
        for _ in range(450):
            recorder.journal.write(E.STALL, late_s=1.0)
        assert recorder.entry.stop() == ExitCode.OK
        assert [row["seq"] for row in recorder.events()] == list(range(1, 452))
        assert recorder.position() == 451

    @pytest.mark.parametrize("point", ["journal.followed", "journal.forgotten", "reclaim.written"])
    def test_killed_in_between_it_writes_everything_once(
        self, new_env: Callable[..., RecorderEnv], env: StoreEnv, point: str
    ) -> None:
        row_id = claimed(env)
        recorder = new_env(chaos="on", crash_points=f"recorder:{point}=kill@1").start()
        recorder.journal.write(E.EXITED, slot="meta-0", kind="meta", incarnation="meta-0.a", signal=9)
        recorder.journal.write(E.SLOT_FREE, slot="meta-0", kind="meta", incarnation="meta-0.a")
        recorder.notify()
        assert recorder.entry.wait_exit() == -signal.SIGKILL
        assert recorder.position() == 0

        recorder.start()
        recorder.until_seen(1, 2)
        eventually(lambda: recorder.position() == 2, 10)
        eventually(lambda: env.state(row_id) == "in_doubt", 10)
        assert env.history(row_id) == ["queued", "sending", "in_doubt"]
        assert recorder.entry.stop() == ExitCode.OK

    def test_an_outage_is_waited_out(
        self, new_env: Callable[..., RecorderEnv], database_url: str, servers: Servers
    ) -> None:
        recorder = new_env().start()
        with away(servers.database_server_url, database_url):
            recorder.journal.write(E.STALL, late_s=1.0)
            recorder.notify()
            recorder.entry.wait_said("X_READY", "0")
        recorder.until_seen(1)
        assert recorder.entry.stop() == ExitCode.OK

    def test_a_batch_that_failed_is_not_passed_over_by_one_read_beside_it(self, home: Path, env: StoreEnv) -> None:
        """A drain catches up while the loop does: what the loop could not write must not be lost behind the position of
        what the drain could.
        """
        row_id = claimed(env)
        journal = JournalWriter(home, "boot-1")
        journal.write(E.SLOT_FREE, slot="meta-0", kind="meta", incarnation="meta-0.a")

        async def scenario() -> None:
            store = open_store(env.url, query_s=0.6)
            follower = JournalFollower(store, home, Metrics())
            with open_transaction(env.url, "SELECT FROM messages WHERE id = %(id)s FOR UPDATE", id=row_id):
                first = asyncio.create_task(follower.catch_up())
                await asyncio.sleep(0.1)
                journal.write(E.STALL, late_s=1.0)
                second = asyncio.create_task(follower.catch_up())
                await asyncio.wait({first})
                assert isinstance(first.exception(), StoreUnavailable)
            await asyncio.gather(second, return_exceptions=True)
            await follower.catch_up()
            assert follower.position == 2
            follower.close()
            store.close()

        run(scenario())
        journal.close()
        assert env.state(row_id) == "in_doubt"


def claimed(env: StoreEnv, incarnation: str = "meta-0.a", chat: str = "a") -> int:
    """Return a row that an incarnation holds."""
    (row_id,) = env.accept(chat)
    env.claim([row_id], incarnation=incarnation)
    return row_id


class TestReclaim:
    def test_a_free_slot_gives_back_what_it_held_and_no_other(
        self, new_env: Callable[..., RecorderEnv], env: StoreEnv
    ) -> None:
        dead, alive = claimed(env), claimed(env, "meta-1.b", "b")
        recorder = new_env().start()
        recorder.journal.write(E.SLOT_FREE, slot="meta-0", kind="meta", incarnation="meta-0.a")
        recorder.notify()
        eventually(lambda: env.state(dead) == "in_doubt", 5)
        assert env.state(alive) == "sending"

    def test_by_the_in_flight_journal(self, new_env: Callable[..., RecorderEnv], env: StoreEnv, home: Path) -> None:
        sent, unsent = claimed(env), claimed(env, chat="b")
        path = path_of(runtime.run_dir(home), "meta-0.a")
        record = InFlightJournal(path, 4).open()
        for row_id in (sent, unsent):
            record.begin(row_id)
        record.answered(sent, Stage.SENT, "wamid.1")
        record.close(remove=False)
        recorder = new_env().start()
        recorder.journal.write(E.SLOT_FREE, slot="meta-0", kind="meta", incarnation="meta-0.a")
        recorder.notify()
        eventually(lambda: env.state(sent) == "sent", 5)
        assert (env.row(sent)["provider_id"], env.state(unsent)) == ("wamid.1", "queued")
        eventually(lambda: not path.exists(), 5, "the record is removed")

    def test_a_claim_that_came_through_after_the_death_is_given_back_too(
        self, new_env: Callable[..., RecorderEnv], env: StoreEnv
    ) -> None:
        """The server may still be committing what the dead process asked for last."""
        recorder = new_env().start()
        recorder.journal.write(E.SLOT_FREE, slot="meta-0", kind="meta", incarnation="meta-0.a")
        recorder.notify()
        recorder.until_seen(1)
        row_id = claimed(env)
        eventually(lambda: env.state(row_id) == "in_doubt", 5)


class TestSchema:
    def test_it_migrates_at_start_and_reports_the_desired_kinds(
        self, new_env: Callable[..., RecorderEnv], empty_database_url: str
    ) -> None:
        recorder = new_env(empty_database_url).start()
        assert query(
            empty_database_url, "SELECT connection_type FROM connection_types WHERE process_name = 'webdriver'"
        ) == [{"connection_type": "wwebjs"}]
        recorder.entry.wait_said("X_DESIRED", "")
        env = StoreEnv(empty_database_url)
        recorder.entry.wait_said("X_DESIRED", "meta")
        env.connect(phone_index=1, connection_type="wwebjs")
        recorder.entry.wait_said("X_DESIRED", "meta,webdriver")
        env.close()
        health = recorder.get("/health").json()
        assert (health["schema"], health["wantedKinds"]) == ("up to date", ["meta", "webdriver"])

    def test_started_without_a_database_it_lives_and_goes_on_trying(
        self, new_env: Callable[..., RecorderEnv], database_url: str, servers: Servers
    ) -> None:
        recorder = new_env(module="tests.recorder.hasty")
        with away(servers.database_server_url, database_url):
            recorder.start()
            recorder.entry.wait_said("X_READY", "0")
            assert recorder.get("/livez").status_code == 200
            assert "schema" in recorder.get("/readyz").json()["missing"]
        eventually(lambda: recorder.get("/readyz").status_code == 200, 15)
        recorder.journal.write(E.STALL, late_s=1.0)
        recorder.until_seen(1)
        assert recorder.entry.stop() == ExitCode.OK

    def migrate(self, **variables: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "proc_recorder.py", "--migrate"],
            cwd=environment.REPOSITORY,
            env=environment.clean(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_on_its_own(self, home: Path, empty_database_url: str) -> None:
        first = self.migrate(bulkhead_home=home, database_url=empty_database_url)
        assert (first.returncode, first.stdout.splitlines()[0]) == (ExitCode.OK, "applied 0001.schema")
        again = self.migrate(bulkhead_home=home, database_url=empty_database_url)
        assert (again.returncode, again.stdout) == (ExitCode.OK, "the schema is up to date\n")

    def test_a_database_that_is_not_ours_is_one_sentence_and_a_configuration_error(
        self, new_env: Callable[..., RecorderEnv], home: Path, empty_database_url: str
    ) -> None:
        query(empty_database_url, "CREATE TABLE phone_configs (mine text)")
        refused = self.migrate(bulkhead_home=home, database_url=empty_database_url)
        assert refused.returncode == ExitCode.CONFIGURATION
        (sentence,) = refused.stderr.splitlines()
        assert "0001.schema" in sentence
        assert "phone_configs" in sentence
        assert "DATABASE_URL" in sentence
        recorder = new_env(empty_database_url)
        recorder.entry.start()
        assert recorder.entry.wait_exit() == ExitCode.CONFIGURATION
        assert "phone_configs" in recorder.entry.log.read_text()

    def test_on_its_own_without_a_database(self, home: Path) -> None:
        assert self.migrate(bulkhead_home=home).returncode == ExitCode.CONFIGURATION
        nowhere = self.migrate(bulkhead_home=home, database_url="postgresql://nobody@127.0.0.1:1/none")
        assert nowhere.returncode == ExitCode.BOOT
        assert "try again" in nowhere.stderr
        assert "Traceback" not in nowhere.stderr
        assert self.migrate(bulkhead_home=home, api_port="x").returncode == ExitCode.CONFIGURATION


class TestFirstCompany:
    TOKENS: Mapping[str, str] = {
        "sandbox_access_token": "EAAsandboxtoken",
        "sandbox_d360_api_key": "d360key",
        "sandbox_d360_webhook_secret": "d360secret",
    }

    def opened(self, url: str, key: str = KEY) -> dict[int, Any]:
        """Return the first company's credentials, opened."""
        store = open_store(url)
        vault = Vault.from_settings(Settings(secret_encryption_key=key))
        credentials: dict[int, Any] = {}
        for index in range(4):
            connection = store.run(connections.by_index, "demo", index)
            assert connection is not None
            context = connections.credentials_context("demo", index)
            credentials[index] = (
                json.loads(vault.open(Sealed.from_text(connection.credentials), context=context))
                if connection.credentials
                else None
            )
        store.close()
        return credentials

    def test_with_a_sandbox(self, new_env: Callable[..., RecorderEnv], database_url: str) -> None:
        recorder = new_env(**self.TOKENS).start()
        rows = query(
            database_url,
            "SELECT phone_index, connection_type, process_name, account_id, credentials FROM phone_configs ORDER BY "
            "phone_index",
        )
        assert [
            (row["phone_index"], row["connection_type"], row["process_name"], row["account_id"]) for row in rows
        ] == [
            (0, "meta_direct", "meta", ACCOUNTS[0]),
            (1, "wwebjs", "webdriver", ""),
            (2, "360dialog", "meta", ACCOUNTS[2]),
            (3, "meta_embedded", "meta", ACCOUNTS[3]),
        ]
        stored = " ".join(row["credentials"] for row in rows)
        assert not any(secret in stored for secret in self.TOKENS.values())
        token = {"access_token": "EAAsandboxtoken"}
        assert self.opened(database_url) == {
            0: token,
            1: None,
            2: {"api_key": "d360key", "webhook_secret": "d360secret"},
            3: token,
        }
        with pytest.raises(SecretUnreadable):
            self.opened(database_url, base64.b64encode(os.urandom(32)).decode())
        recorder.entry.wait_said("X_DESIRED", "meta,webdriver")

        ids = [row["id"] for row in query(database_url, "SELECT id FROM phone_configs ORDER BY phone_index")]
        assert recorder.entry.stop() == ExitCode.OK
        recorder.entry._variables["sandbox_access_token"] = "EAAnew"
        recorder.start()
        assert [row["id"] for row in query(database_url, "SELECT id FROM phone_configs ORDER BY phone_index")] == ids
        assert self.opened(database_url)[0] == {"access_token": "EAAnew"}, "a changed credential is taken over"

    def test_with_a_real_number(self, new_env: Callable[..., RecorderEnv], database_url: str) -> None:
        new_env(
            meta_access_token="EAAreal", meta_phone_number_id="4711", meta_app_secret="s", company_id="acme"
        ).start()
        rows = query(database_url, "SELECT company_id, phone_index, connection_type, account_id FROM phone_configs")
        assert rows == [
            {"company_id": "acme", "phone_index": 0, "connection_type": "meta_direct", "account_id": "4711"}
        ]

    def test_without_credentials_there_is_none(self, new_env: Callable[..., RecorderEnv], database_url: str) -> None:
        new_env().start()
        assert query(database_url, "SELECT id FROM companies") == []

    def test_without_a_key_it_is_a_configuration_error(self, new_env: Callable[..., RecorderEnv]) -> None:
        recorder = new_env(secret_encryption_key="")
        recorder.entry.start()
        assert recorder.entry.wait_exit() == ExitCode.CONFIGURATION
        assert "SECRET_ENCRYPTION_KEY" in recorder.entry.log.read_text()


class TestOrchestrator:
    def write(self, home: Path, age_s: float = 0.0) -> None:
        at = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
        slots = {"meta-0": {"state": "ready"}, "api-0": {"state": "starting"}}
        runtime.status_file(home).write_text(
            json.dumps({"at": at, "state": "running", "slots": slots, "pid": 77, "boot": "boot-1", "uptime_s": 5.5})
        )

    def test_its_heartbeat_comes_from_its_snapshot(
        self, new_env: Callable[..., RecorderEnv], home: Path, database_url: str
    ) -> None:
        self.write(home)
        new_env(heartbeat_s=0.2).start()
        rows = "SELECT reported, pid, incarnation, detail FROM process_status WHERE process_name = 'orchestrator'"
        eventually(lambda: query(database_url, rows), 10)
        expected = {"reported": "running", "pid": 77, "incarnation": "boot-1", "detail": {"slots": 2, "ready": 1}}
        assert query(database_url, rows) == [expected]

    def test_an_old_snapshot_is_no_sign_of_life(
        self, new_env: Callable[..., RecorderEnv], home: Path, database_url: str
    ) -> None:
        self.write(home, age_s=60)
        new_env(heartbeat_s=0.2).start()
        eventually(lambda: query(database_url, "SELECT pid FROM process_health WHERE process_name = 'recorder'"), 10)
        figures = "SELECT count(*) AS n FROM process_metrics WHERE process_name = 'recorder'"
        eventually(lambda: query(database_url, figures)[0]["n"] >= 3, 10, "several heartbeats have gone by")
        assert query(database_url, "SELECT pid FROM process_health WHERE process_name = 'orchestrator'") == []
