"""A company goes with everything of it, whatever is killed meanwhile; another one's things stay as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from recorder import company_deletion
from recorder.company_deletion import CompanyDeletion
from shared.media.local import LocalStorage
from shared.media.storage import open_storage
from shared.process.exit_codes import ExitCode
from shared.secrets import Vault
from shared.settings import load
from shared.states import MessageState
from shared.store import companies, tasks
from shared.store.pool import Transaction
from shared.store.sealed import put_secret, secret_context
from tests.store.env import StoreEnv
from tests.support.bucket import BUCKET, KEY_ID, REGION, SECRET, Bucket
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.waiting import eventually

OF_DELETION = ("deletion.removed", "deletion.rows", "deletion.files", "deletion.gone")
"""Points between the steps of a deletion; a test below ends each life there."""
BY: Final = {"id": "1", "name": "an operator", "companyId": None}
KEPT: Final[Mapping[str, str]] = {
    "alerts": "of the installation; what they are about are processes and queues",
    "alert_silences": "of the installation",
    # tables that hold nothing of one company
    "companies": "its own row is deleted last",
    "connection_types": "a copy of the registry",
    "deleted_companies": "ids alone, so that the environment makes none again",
    "event_exports": "positions of message brokers in the stream of events",
    "event_horizons": "positions of retention",
    "event_names": "names of events that a provider may repeat, by the provider's own ids; go with RETENTION_DAYS",
    "event_positions": "positions in journals of orchestrators",
    "health_probes": "processes of the API",
    "installation": "the installation",
    "limit_buckets": "named by their owner; deleted by name",
    "process_health": "processes",
    "process_heartbeats": "processes",
    "process_metrics": "processes",
    "reading_positions": "positions in the stream of events",
    "row_security_rules": "rules of tables",
    "webhook_outages": "of hosts",
    "secret_keys": "what shows that a key is the right one",
}
FILL = """
    WITH made AS (
        INSERT INTO inbound_journal (process_name, source, connection_id, body, processed_at)
        VALUES ('meta', 'meta', NULL, 'theirs', now()), ('meta', 'meta', NULL, 'of both', now()),
               ('webdriver', 'page', %(connection)s, 'open', NULL) RETURNING id, convert_from(body, 'UTF8') AS body
    )
    INSERT INTO inbound_messages (company_id, connection_id, journal_id, provider_id, chat_id, sender, type, content,
                                  at)
    SELECT %(company)s, %(connection)s, id, body || id, 'c', 'c', 'text', '{}', now() FROM made WHERE body <> 'open';
    INSERT INTO contact_aliases (company_id, alias, person_id) VALUES (%(company)s, 'a', 1);
    INSERT INTO contacts (connection_id, user_id, first_seen_at, last_seen_at)
    VALUES (%(connection)s, 'u', now(), now());
    INSERT INTO pair_pacing (connection_id, chat_id, spent_until) VALUES (%(connection)s, 'c', now());
    INSERT INTO api_keys (company_id, name, prefix, digest, scopes)
    VALUES (%(company)s, 'k', 'bh_', sha256(%(company)s::bytea), ARRAY['send']);
    INSERT INTO limit_buckets (name, capacity, rate, tokens, refilled_at)
    VALUES ('company:' || %(company)s || ':requests', 1, 1, 1, now()),
           ('key:' || (SELECT id FROM api_keys WHERE company_id = %(company)s) || ':requests', 1, 1, 1, now());
    INSERT INTO hooks (company_id, url, sealed, xid, event_id) VALUES (%(company)s, 'https://example.com', 'x', 0, 0);
    INSERT INTO hook_deliveries (hook_id, xid, event_id, type, attempt, outcome, took_ms)
    SELECT id, 0, 0, 't', 1, 'taken', 1 FROM hooks WHERE company_id = %(company)s;
    INSERT INTO media_files (company_id, sha256, size, mimetype) VALUES (%(company)s, repeat('a', 64), 1, 'text/plain');
    INSERT INTO tasks (company_id, connection_id, process_name, operation, expires_at)
    VALUES (%(company)s, %(connection)s, 'meta', 'test', now() + interval '1 hour');
    INSERT INTO contact_imports (task_id, company_id, format, content)
    SELECT id, company_id, 'csv', 'x' FROM tasks WHERE company_id = %(company)s LIMIT 1;
    INSERT INTO conversations (company_id, connection_id, chat_id, state)
    VALUES (%(company)s, %(connection)s, 'c', 'bot');
    INSERT INTO turns (company_id, conversation_id, first_inbound_id, last_inbound_id)
    SELECT company_id, id, 1, 1 FROM conversations WHERE company_id = %(company)s;
    INSERT INTO documents (company_id, sha256, title, mimetype, size)
    VALUES (%(company)s, repeat('b', 64), 'd', 'text/plain', 1);
    INSERT INTO document_chunks (company_id, document_id, generation, position, body, tokens, words)
    SELECT company_id, id, 1, 0, 'x', 1, 'x' FROM documents WHERE company_id = %(company)s;
    INSERT INTO chunk_vectors (chunk_id, company_id, document_id, generation, model, dimensions, embedding)
    SELECT id, company_id, document_id, 1, 'm', 1, '{1}' FROM document_chunks WHERE company_id = %(company)s;
    INSERT INTO search_questions (company_id, question, most) VALUES (%(company)s, 'q', 5);
    INSERT INTO functions (company_id, name, description, url) VALUES (%(company)s, 'f', 'f', 'https://example.com');
    INSERT INTO model_spend (company_id, month) VALUES (%(company)s, '2026-11-01');
    WITH asked AS (
        INSERT INTO model_calls (company_id, run, model, month, reserved_micros)
        VALUES (%(company)s, 'turn-1', 'm', '2026-11-01', 0) RETURNING id
    )
    INSERT INTO tool_calls (company_id, run, model_call_id, position, name, state, digest)
    SELECT %(company)s, 'turn-1', id, 0, 't', 'done', '' FROM asked;
    WITH service AS (
        INSERT INTO services (company_id, name) VALUES (%(company)s, 's') RETURNING id
    ), slot AS (
        INSERT INTO slots (company_id, service_id, starts_at, ends_at)
        SELECT %(company)s, id, now(), now() + interval '1 hour' FROM service RETURNING id, service_id
    )
    INSERT INTO bookings (company_id, slot_id, place, state, held_until, customer)
    SELECT %(company)s, id, int8range(service_id * 8589934592, service_id * 8589934592 + 1), 'held', now(), 'c'
    FROM slot;
    INSERT INTO environment_seeds (company_id, phone_index, digest, written) VALUES (%(company)s, 0, '', '');
    INSERT INTO events (subject, type, company_id) VALUES ('audit', 'audit.x', %(company)s);
"""


class DeletionEnv(StoreEnv):
    """Two companies with something in every kind of table, and files."""

    def __init__(self, url: str, media: Path) -> None:
        super().__init__(url)
        self.storage = LocalStorage(media)
        self.other = self.connect("other")
        for company, connection in (("acme", self.connection), ("other", self.other)):
            query(url, FILL, company=company, connection=connection)
            self.accept("a", "b", company_id=company, connection_id=connection)
            asyncio.run(self.storage.put(company, pieces(company.encode()), most=100))
        # one raw event held messages of both companies
        (shared,) = query(url, "SELECT min(id) AS id FROM inbound_journal WHERE body = 'of both'")
        query(
            url,
            "UPDATE inbound_messages SET journal_id = %(id)s WHERE provider_id LIKE '%%of both%%' ",
            id=shared["id"],
        )

    def begin(self, company: str = "acme") -> int:
        def work(transaction: Transaction) -> int:
            row = companies.lock(transaction, company)
            assert row is not None
            return companies.begin_deletion(transaction, row, by=BY)

        return self.store.run(work)

    def deletion(self, **fields: Any) -> CompanyDeletion:
        return CompanyDeletion(self.store, self.storage, **{"settle_s": 0.0, "unlink_s": 0.0, "blocks": 4, **fields})

    def left(self, company: str = "acme") -> dict[str, int]:
        """Return how many rows each table still has of a company, by the catalogue alone."""
        found = {}
        for row in query(
            self.url,
            """SELECT table_name FROM information_schema.columns
               JOIN information_schema.tables USING (table_schema, table_name)
               WHERE table_schema = 'public' AND column_name = 'company_id' AND table_type = 'BASE TABLE'""",
        ):
            name = row["table_name"]
            (count,) = query(self.url, f"SELECT count(*) AS rows FROM {name} WHERE company_id = %(c)s", c=company)
            found[name] = count["rows"]
        return {name: rows for name, rows in found.items() if rows}

    def task(self, task_id: int) -> Mapping[str, Any]:
        return query(self.url, "SELECT * FROM tasks WHERE id = %(id)s", id=task_id)[0]


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
def there(database_url: str, tmp_path: Path) -> Iterator[DeletionEnv]:
    made = DeletionEnv(database_url, tmp_path / "media")
    yield made
    made.close()


def run(deletion: CompanyDeletion, there: DeletionEnv, task_id: int) -> None:
    for _ in range(50):
        asyncio.run(deletion.advance())
        if there.task(task_id)["state"] == "done":
            return
    raise AssertionError(there.task(task_id))


def test_nothing_is_left_and_another_company_is_untouched(there: DeletionEnv, tmp_path: Path) -> None:
    before = there.left("other")
    task_id = there.begin()
    assert there.task(task_id)["progress"] == {"stage": "settling"}
    for slot in ("meta-0", "recorder-0"):
        # each process gives back at its start what earlier lives had in hand
        assert there.store.run(tasks.reclaim_earlier_lives, slot=slot, living=f"{slot}.a") == []
    run(there.deletion(), there, task_id)
    assert there.left() == {}
    assert query(there.url, "SELECT id FROM companies ORDER BY id") == [{"id": "other"}]
    assert there.left("other") == before
    assert [path.name for path in (tmp_path / "media").iterdir()] == ["other"]
    for table in ("contacts", "pair_pacing", "hook_deliveries"):
        assert len(query(there.url, f"SELECT 1 FROM {table}")) == 1, table
    names = [row["name"] for row in query(there.url, "SELECT name FROM limit_buckets")]
    assert len(names) == 2
    assert not any("acme" in name for name in names)
    bodies = sorted(bytes(row["body"]) for row in query(there.url, "SELECT body FROM inbound_journal"))
    # the raw events of the other company, and the one that is also its own
    assert bodies == [b"of both", b"of both", b"open", b"theirs"]
    done = there.task(task_id)
    assert done["result"]["deletedFiles"] == 1
    assert done["result"]["deletedRows"] > 10
    (event,) = query(there.url, "SELECT company_id, data FROM events WHERE type = 'audit.companies.deleted'")
    assert event["company_id"] is None
    assert event["data"]["subject"] == {"companyId": "acme"}
    assert event["data"]["key"] == BY


def test_every_table_is_deleted_from_or_holds_nothing_of_a_company(there: DeletionEnv) -> None:
    """A table that is added later is in one of the two, or this fails."""
    walked = {table.name for table in there.store.run(companies.tables)}
    every = {
        row["relname"]
        for row in query(
            there.url,
            """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               AND NOT relispartition AND relname NOT LIKE '%%yoyo%%'""",
        )
    }
    assert every - walked - set(KEPT) == set(), "name it in KEPT with the reason, or give it a column company_id"
    assert set(KEPT) <= every
    assert walked & set(KEPT) == set()


def test_rows_that_refer_to_others_are_deleted_first(there: DeletionEnv) -> None:
    order = [table.name for table in there.store.run(companies.tables)]
    assert order.index("inbound_media") < order.index("inbound_messages") < order.index("phone_configs")
    assert order.index("messages") < order.index("phone_configs")
    assert order[-1] == "events"


@pytest.mark.parametrize("point", OF_DELETION)
def test_it_goes_on_after_a_death_at_any_point(there: DeletionEnv, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Death(BaseException):
        """Stands for SIGKILL: nothing after the point runs, and nothing in memory is kept."""

    deaths = 3

    def hit(name: str) -> None:
        nonlocal deaths
        if name == point and deaths:
            deaths -= 1
            raise Death

    monkeypatch.setattr(company_deletion, "hit", hit)
    task_id = there.begin()
    for _ in range(4):
        try:
            run(there.deletion(), there, task_id)
            break
        except Death:
            continue
    assert there.task(task_id)["state"] == "done"
    assert there.left() == {}
    assert len(query(there.url, "SELECT 1 FROM events WHERE type = 'audit.companies.deleted'")) == 1


def test_a_send_in_flight_is_waited_for_and_then_settled_or_forgotten(there: DeletionEnv) -> None:
    (one,) = there.accept("z")
    assert there.claimed_ids([one]) == [one]
    task_id = there.begin()
    asyncio.run(there.deletion(settle_s=600.0).advance())
    assert there.state(one) == "sending"
    assert there.settle(one, MessageState.SENT, provider_id="wamid.1")
    patient = there.deletion(settle_s=600.0)
    run(patient, there, task_id)
    assert there.left() == {}
    # a process that did not notice the end of the wait
    assert not there.settle(one, MessageState.SENT, provider_id="wamid.1")


def test_a_session_is_unlinked_and_its_profile_confirmed_before_its_row_goes(there: DeletionEnv) -> None:
    session = there.connect(phone_index=1, connection_type="wwebjs")
    query(
        there.url,
        """INSERT INTO phone_status (connection_id, process_name, status, proved_at)
           VALUES (%(id)s, '', 'ready', now())""",
        id=session,
    )
    task_id = there.begin()
    patient = there.deletion(unlink_s=600.0)
    asyncio.run(patient.advance())
    (row,) = query(there.url, "SELECT status, desired_state FROM phone_configs WHERE id = %(id)s", id=session)
    assert row == {"status": "active", "desired_state": "logged_out"}
    query(there.url, "UPDATE phone_status SET status = 'logged_out' WHERE connection_id = %(id)s", id=session)
    for _ in range(10):
        asyncio.run(patient.advance())
    assert there.task(task_id)["progress"]["stage"] == "profiles"
    assert set(there.left()) == {"phone_configs"}
    there.store.run(companies.confirm_profiles_deleted, "webdriver", [session])
    asyncio.run(patient.advance())
    assert there.task(task_id)["state"] == "running", "its profile is still there"
    there.store.run(companies.confirm_profiles_deleted, "webdriver", [])
    run(patient, there, task_id)
    assert there.left() == {}


def test_a_deleted_company_is_made_again_by_an_operator_only(there: DeletionEnv) -> None:
    task_id = there.begin()
    assert there.store.run(companies.was_deleted, "acme")
    assert there.store.run(companies.add, "acme") is None, "it is still there"
    query(there.url, "DELETE FROM companies WHERE id = 'acme'")
    query(there.url, "INSERT INTO deleted_companies (id) VALUES ('acme')")
    assert there.store.run(companies.add, "acme") is None, "what was written meanwhile is still being deleted"
    assert there.store.run(companies.was_deleted, "acme"), "a refused creation changes nothing"
    run(there.deletion(), there, task_id)
    assert there.store.run(companies.was_deleted, "acme")
    assert there.store.run(companies.add, "acme") is not None
    assert not there.store.run(companies.was_deleted, "acme")


def test_a_recorder_that_is_killed_deletes_everything_in_the_end(there: DeletionEnv, home: Path) -> None:
    """The real process, and a bucket for files; another company's name begins with this one's."""
    with Bucket() as bucket:
        own: dict[str, Any] = {
            "media_storage": f"s3://{BUCKET}/bulk/head",
            "media_s3_url": bucket.url,
            "media_s3_region": REGION,
        }
        own |= {"media_s3_key_id": KEY_ID, "media_s3_secret": SECRET}
        storage = open_storage(load({name.upper(): value for name, value in own.items()}))
        there.connect("acme2")

        async def fill() -> None:
            for number in range(250):
                await storage.put("acme", pieces(b"of acme %d" % number), most=100)
            await storage.put("acme2", pieces(b"of acme2"), most=100)
            await storage.close()

        asyncio.run(fill())
        task_id = there.begin()
        points = "recorder:deletion.rows=kill@3,recorder:deletion.files=kill@1,recorder:deletion.gone=kill@1"
        with Entry("recorder", home, database_url=there.url, chaos="on", crash_points=points, **own) as recorder:
            for _ in range(3):
                recorder.start()
                assert recorder.wait_exit(60.0) == -9, recorder.log.read_text()
                assert there.task(task_id)["state"] == "running"
            recorder.start()
            eventually(lambda: there.task(task_id)["state"] == "done", 60.0, lambda: str(there.task(task_id)))
            assert recorder.stop() == ExitCode.OK
        assert there.left() == {}
        assert [name.split("/")[2] for name in bucket.objects] == ["acme2"]
        assert bucket.refused == []
    assert query(there.url, "SELECT id FROM companies ORDER BY id") == [{"id": "acme2"}, {"id": "other"}]
    assert len(query(there.url, "SELECT 1 FROM events WHERE type = 'audit.companies.deleted'")) == 1


@pytest.mark.parametrize("kind", ["recorder", "api", "hooks"])
def test_without_a_key_that_is_still_needed_no_process_starts(there: DeletionEnv, home: Path, kind: str) -> None:
    sealed = Vault("older", bytes(32)).seal("sk-1", context=secret_context("acme", "model")).to_text()
    there.store.as_company("acme").run(put_secret, "acme", "model", sealed=sealed, most=9)
    given: dict[str, Any] = {
        "database_url": there.url,
        "redis_url": "redis://127.0.0.1:1/0",
        "api_key": "key-of-the-tests",
    }
    with Entry(kind, home, **given) as process:
        process.start()
        assert process.wait_exit(60.0) == ExitCode.CONFIGURATION, process.log.read_text()
        sentence = "SECRET_OLD_KEYS: the key older is missing, and still needed (1 of tenant_secrets); add older=BASE64"
        assert sentence in process.log.read_text()
