"""Row-level security: every table is protected, the roles may do no more than listed, a transaction of one company
meets no row of another, and a connection carries nothing from one transaction to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import psycopg2
import pytest
from psycopg2 import sql

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.store.pool import Pool, Transaction
from tests.store.env import StoreEnv
from tests.support.database import query

KEY_COLUMNS: Final = (
    "company_id, created_at, expires_at, id, last_used_at, limits, name, prefix, previous_until, revoked_at, "
    "rotated_at, scopes"
)
TENANT_MAY: Final[Mapping[str, str]] = {
    # by the row's own company
    "companies": "SELECT, UPDATE (in_doubt_policy, name, settings, updated_at, version)",
    # what is sealed is written and read by none
    "tenant_secrets": "SELECT (company_id, created_at, name, updated_at), INSERT (company_id, name, sealed), "
    "UPDATE (sealed, updated_at), DELETE",
    "company_exports": "SELECT",
    "contact_imports": "INSERT",
    "phone_configs": "SELECT, INSERT, UPDATE",
    "messages": "SELECT, UPDATE",
    "inbound_messages": "SELECT",
    "inbound_media": "SELECT",
    "tasks": "SELECT, INSERT",
    "media_files": "SELECT, INSERT, UPDATE",
    "contact_aliases": "SELECT, INSERT, UPDATE",
    "people": "SELECT, INSERT, UPDATE, DELETE",
    "contact_merges": "SELECT, INSERT, UPDATE",
    "api_keys": f"SELECT ({KEY_COLUMNS}), UPDATE (revoked_at)",
    "hooks": "SELECT, INSERT, UPDATE, DELETE",
    "conversations": "SELECT, UPDATE, DELETE",
    "turns": "SELECT, UPDATE",
    "functions": "SELECT, INSERT, UPDATE, DELETE",
    "services": "SELECT, INSERT, UPDATE, DELETE",
    "slots": "SELECT, INSERT, UPDATE, DELETE",
    "bookings": "SELECT",
    "model_spend": "SELECT",
    "events": "SELECT, INSERT",
    "events_messages": "SELECT, INSERT",
    "events_others": "SELECT, INSERT",
    # by the company of the connection, or of the subscription, that they belong to
    "phone_status": "SELECT, UPDATE",
    "templates": "SELECT, DELETE",
    "media_uploads": "SELECT, DELETE",
    "contacts": "SELECT",
    "timed_pauses": "SELECT",
    "hook_retries": "SELECT, INSERT, UPDATE",
    "hook_deliveries": "SELECT",
    # documents, their passages, and questions to kind index
    "documents": "SELECT, INSERT, UPDATE",
    "document_chunks": "SELECT",
    "chunk_signs": "SELECT",
    "chunk_vectors": "SELECT",
    "search_questions": "SELECT, INSERT, DELETE",
    # copies that lists and figures are read from
    "message_index": "SELECT",
    "chats": "SELECT",
    "chat_reads": "SELECT, INSERT, UPDATE",
    "message_rollups": "SELECT",
    "latency_rollups": "SELECT",
    "message_lines": "SELECT",
    # no tenant's data
    "connection_types": "SELECT",
    "reading_positions": "SELECT",
    "event_horizons": "SELECT",
}
"""What the tenant role may do, by table."""
RUNTIME_ONLY: Final = frozenset(
    {
        # rows of companies, which no request of a tenant needs: what was received and not yet read, pacing, uploads,
        # evidence and positions of connections, seeds, limits
        "inbound_journal",
        "journal_copies",
        # how far events were published to a message broker
        "event_exports",
        "pacing",
        "pair_pacing",
        "webhook_evidence",
        "webhook_outages",
        "page_positions",
        "environment_seeds",
        "limit_buckets",
        # what models and tools were asked in an answer that is being made
        "model_calls",
        "tool_calls",
        # of the installation
        "alerts",
        "alert_silences",
        "deleted_companies",
        "event_names",
        "event_positions",
        "health_probes",
        "installation",
        "process_health",
        "process_heartbeats",
        "process_metrics",
        "secret_keys",
        # views, which follow the policies of their reader
        "connection_overview",
        "messages_per_minute",
        "process_health_last_hour",
        "process_status",
        "process_summary",
        "queue_depth",
        "recent_process_events",
    }
)
"""Tables and views for which the tenant role has no privilege at all."""
OWNER_ONLY: Final = frozenset({"row_security_rules"})
"""Tables of the owner, who migrates."""

OPEN_FUNCTIONS: Final = {
    # finds ids of one company by an index that the tenant role could not use
    "reactions_to",
    # as above, for searches; the company is that of the transaction
    "find_chats",
    "find_people",
    "find_messages",
    "find_chunks",
    # says whether any company has an account, and no more
    "account_in_use",
}
"""Functions with their owner's rights that the tenant role may execute."""

TABLES = """
    SELECT c.oid, c.relname AS name, c.relkind AS kind, c.relispartition AS is_partition,
           c.relrowsecurity AND c.relforcerowsecurity AS is_forced, c.reloptions AS options,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'company_id') AS has_company
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND c.relname NOT LIKE '%%yoyo%%'
"""
GRANTS = """
    SELECT c.relname AS name, a.privilege_type AS privilege, NULL AS columns
    FROM pg_class c, aclexplode(c.relacl) AS a WHERE a.grantee = %(role)s::regrole AND c.relkind <> 'S'
    UNION ALL
    SELECT c.relname, a.privilege_type, string_agg(t.attname, ', ' ORDER BY t.attname)
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
    WHERE a.grantee = %(role)s::regrole GROUP BY 1, 2
"""


@pytest.fixture
def roles(env: StoreEnv) -> Mapping[str, str]:
    """Names of the roles, by purpose."""
    (row,) = query(env.url, "SELECT runtime_role() AS runtime, tenant_role() AS tenant")
    return row


def rows(transaction: Transaction, statement: str, *values: Any) -> list[Any]:
    """Run a statement that has no name in the product."""
    transaction._cursor.execute(statement, values or None)  # only tests run nameless SQL
    return list(transaction._cursor.fetchall()) if transaction._cursor.description else []


def granted(url: str, role: str) -> dict[str, str]:
    """Return what a role may do, by table, as GRANT says it."""
    order = ["SELECT", "INSERT", "UPDATE", "DELETE"]
    found: dict[str, list[str]] = {}
    for row in query(url, GRANTS, role=role):
        found.setdefault(row["name"], []).append(row["privilege"] + (f" ({row['columns']})" if row["columns"] else ""))
    return {
        name: ", ".join(sorted(these, key=lambda one: order.index(one.split()[0]) if one.split()[0] in order else 9))
        for name, these in found.items()
    }


class TestCatalogue:
    def test_every_table_of_companies_is_forced_with_policies_for_everything(
        self, env: StoreEnv, roles: Mapping[str, str]
    ) -> None:
        policies: dict[str, dict[str, Any]] = {}
        for row in query(
            env.url, "SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies"
        ):
            policies.setdefault(row["tablename"], {})[row["policyname"]] = row
        checked = 0
        for table in query(env.url, TABLES):
            name = table["name"]
            if table["kind"] == "v":
                assert "security_invoker=true" in (table["options"] or []), name
                continue
            assert table["kind"] in ("r", "p"), f"{name}: neither materialised views nor foreign tables are protected"
            if not table["has_company"] and name not in TENANT_MAY:
                continue
            assert table["is_forced"], name
            of_it = policies[name]
            # a partition is reached by its parent's name alone
            expected = {"whole_for_owner"}
            if name in TENANT_MAY or not table["is_partition"]:
                expected |= {"whole_for_runtime", "own_company"}
                assert of_it["whole_for_runtime"]["roles"] == [roles["runtime"]], name
                mine = of_it["own_company"]
                assert mine["roles"] == [roles["tenant"]], name
                assert mine["qual"] == mine["with_check"], name
                if name not in ("connection_types", "reading_positions", "event_horizons"):
                    assert "own_company()" in mine["qual"] or "EXISTS" in mine["qual"], name
            assert set(of_it) == expected, name
            assert {one["cmd"] for one in of_it.values()} == {"ALL"}, name
            checked += 1
        assert checked > 20

    def test_no_role_may_do_more_than_is_listed(self, env: StoreEnv, roles: Mapping[str, str]) -> None:
        tables = {row["name"] for row in query(env.url, TABLES) if not row["is_partition"] or row["name"] in TENANT_MAY}
        assert tables == TENANT_MAY.keys() | RUNTIME_ONLY | OWNER_ONLY, "a new table is listed, with who may use it"
        assert granted(env.url, roles["tenant"]) == dict(TENANT_MAY)
        everything = granted(env.url, roles["runtime"])
        assert everything.keys() == TENANT_MAY.keys() | RUNTIME_ONLY
        views = {row["name"] for row in query(env.url, TABLES) if row["kind"] == "v"}
        for name, may in everything.items():
            assert may == ("SELECT" if name in views else "SELECT, INSERT, UPDATE, DELETE"), name

    def test_the_roles_are_neither_owner_nor_superuser_and_bypass_nothing(
        self, env: StoreEnv, roles: Mapping[str, str]
    ) -> None:
        assert len(set(roles.values())) == 2
        for role in roles.values():
            (row,) = query(
                env.url,
                """SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin, rolinherit, rolreplication,
                          (SELECT count(*) FROM pg_class WHERE relowner = r.oid) AS owned,
                          (SELECT count(*) FROM pg_auth_members WHERE member = r.oid) AS memberships,
                          has_schema_privilege(r.oid, 'public', 'CREATE') AS may_create
                   FROM pg_roles r WHERE rolname = %(role)s""",
                role=role,
            )
            assert not any(row.values()), (role, row)

    def test_what_runs_with_its_owners_rights_is_closed_to_tenants(
        self, env: StoreEnv, roles: Mapping[str, str]
    ) -> None:
        found = query(
            env.url,
            """SELECT proname, proconfig, has_function_privilege(%(tenant)s, oid, 'EXECUTE') AS may
               FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace""",
            tenant=roles["tenant"],
        )
        assert {row["proname"] for row in found} == {
            "make_day_partitions",
            "drop_day_partitions",
            "prepare_vectors",
            # a trigger in place of a foreign key's cascade, which has its owner's rights too
            "forget_hook_deliveries",
        } | OPEN_FUNCTIONS
        for row in found:
            assert row["may"] == (row["proname"] in OPEN_FUNCTIONS), row
            assert any(setting.startswith("search_path=") for setting in row["proconfig"]), row

    def test_every_reference_between_tables_of_companies_names_the_company(self, env: StoreEnv) -> None:
        found = query(
            env.url,
            """SELECT conrelid::regclass::text AS child, conname AS name,
                      EXISTS (SELECT FROM unnest(conkey, confkey) AS pair(child, parent)
                              JOIN pg_attribute c ON c.attrelid = conrelid AND c.attnum = pair.child
                              JOIN pg_attribute p ON p.attrelid = confrelid AND p.attnum = pair.parent
                              WHERE c.attname = 'company_id' AND p.attname = 'company_id') AS is_composite, convalidated
               FROM pg_constraint
               WHERE contype = 'f' AND conrelid IN (SELECT attrelid FROM pg_attribute WHERE attname = 'company_id')
                 AND confrelid IN (SELECT attrelid FROM pg_attribute WHERE attname = 'company_id')""",
        )
        assert len(found) >= 5
        assert all(row["is_composite"] and row["convalidated"] for row in found), found


@pytest.fixture
def two(env: StoreEnv) -> StoreEnv:
    """Two companies with a message each: of acme and of globex."""
    env.accept("a")
    env.accept("a", company_id="globex", connection_id=env.connect("globex"))
    return env


def companies_seen(transaction: Transaction, table: str = "messages") -> set[str]:
    """Return the companies whose rows a transaction sees without asking for one."""
    return {row[0] for row in rows(transaction, f"SELECT company_id FROM {table}")}


class TestCompanies:
    @pytest.mark.parametrize("table", ["messages", "phone_configs", "events", "events_messages"])
    def test_a_statement_without_a_condition_meets_its_own_company_alone(self, two: StoreEnv, table: str) -> None:
        for company in ("acme", "globex"):
            assert two.store.as_company(company).run(companies_seen, table) == {company}
        assert two.store.as_company("nobody").run(companies_seen, table) == set()
        assert two.store.run(companies_seen, table) == {"acme", "globex"}

    def test_rows_that_belong_to_a_connection_follow_it(self, two: StoreEnv) -> None:
        query(
            two.url,
            "INSERT INTO phone_status (connection_id, process_name, status) SELECT id, '', 'x' FROM phone_configs",
        )
        statement = "SELECT connection_id FROM phone_status"
        assert two.store.as_company("acme").run(rows, statement) == [(two.connection,)]
        assert len(two.store.run(rows, statement)) == 2

    def test_what_is_another_companys_is_neither_changed_nor_written(self, two: StoreEnv) -> None:
        def change(transaction: Transaction) -> int:
            rows(transaction, "UPDATE messages SET error_detail = 'changed' RETURNING id")
            return int(transaction._cursor.rowcount)

        assert two.store.as_company("acme").run(change) == 1
        for statement in (
            "INSERT INTO tasks (company_id, process_name, operation, expires_at) VALUES ('globex', 'meta', 'x', now())",
            "UPDATE phone_configs SET company_id = 'globex'",
            "INSERT INTO events (subject, type, company_id) VALUES ('audit', 'audit.x', 'globex')",
            "INSERT INTO events (subject, type) VALUES ('audit', 'audit.x')",
        ):
            with pytest.raises(StoreUnavailable, match="row-level security"):
                two.store.as_company("acme").run(rows, statement)

    def test_it_may_not_reach_what_is_not_its_own(self, two: StoreEnv) -> None:
        (partition,) = query(
            two.url, "SELECT tableoid::regclass::text AS name FROM events WHERE company_id = 'acme' LIMIT 1"
        )
        for statement in (
            f"SELECT FROM {partition['name']}",
            "SELECT digest FROM api_keys",
            "SELECT FROM inbound_journal",
            "SELECT FROM limit_buckets",
            "TRUNCATE messages",
            "DELETE FROM messages",
            "CREATE TABLE mine (id int)",
            "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
            "SELECT make_day_partitions('events_others', 'written_at', 1)",
        ):
            with pytest.raises(StoreUnavailable) as refused:
                two.store.as_company("acme").run(rows, statement)
            assert refused.value.outage == "privilege", statement

    @pytest.mark.parametrize(
        "statement", ["TRUNCATE messages", "CREATE TABLE mine (id int)", "SELECT FROM row_security_rules"]
    )
    def test_a_runtime_may_not_change_the_schema(self, two: StoreEnv, statement: str) -> None:
        with pytest.raises(StoreUnavailable, match=r"denied|must be owner"):
            two.store.run(rows, statement)

    def test_a_row_refers_to_rows_of_its_own_company_alone(self, two: StoreEnv) -> None:
        for statement in (
            "UPDATE messages SET company_id = 'globex' WHERE company_id = 'acme'",
            "UPDATE phone_configs SET company_id = 'globex', phone_index = 7 WHERE company_id = 'acme'",
        ):
            with pytest.raises(psycopg2.errors.ForeignKeyViolation):
                query(two.url, statement)


class TestWithoutACompany:
    @pytest.mark.parametrize("table", ["messages", "tasks", "phone_configs", "phone_status", "events"])
    @pytest.mark.parametrize("before", ["SELECT", "SELECT set_config('bulkhead.company_id', '', true)"])
    def test_it_fails_and_does_not_look_empty(
        self, env: StoreEnv, roles: Mapping[str, str], table: str, before: str
    ) -> None:
        with closing(psycopg2.connect(env.url)) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(roles["tenant"])))
            cursor.execute(before)
            with pytest.raises(psycopg2.errors.RaiseException, match="no company is set"):
                cursor.execute(f"SELECT * FROM {table}")

    def test_an_empty_company_is_refused_before_it_gets_there(self, env: StoreEnv) -> None:
        with pytest.raises(ValueError, match="id"):
            env.store.as_company("")


@pytest.fixture
def single(two: StoreEnv) -> Iterator[Pool]:
    """A pool of one connection, which each transaction therefore shares."""
    pool = Pool(two.url, limit=1, application_name="single", idle_s=30.0, connect_s=5.0)
    yield pool
    pool.close()


def whose(pool: Pool, company: str | None) -> tuple[set[str], str]:
    """Return the companies that a transaction sees, and its role."""
    with pool.transaction(monotonic() + 5, company_id=company) as transaction:
        return companies_seen(transaction), rows(transaction, "SELECT current_user")[0][0]


class TestOneConnection:
    def check(self, pool: Pool, roles: Mapping[str, str]) -> None:
        """Each transaction is what it was opened as, whatever the connection was used for before."""
        for company in ("acme", None, "globex", "acme", None):
            seen, role = whose(pool, company)
            assert (seen, role) == (({company}, roles["tenant"]) if company else ({"acme", "globex"}, roles["runtime"]))
        with pool.statements(monotonic() + 5) as transaction:
            assert companies_seen(transaction) == {"acme", "globex"}

    def test_nothing_is_left_for_the_next_transaction(self, single: Pool, roles: Mapping[str, str]) -> None:
        self.check(single, roles)
        assert single.stats.opened == 1

    def test_nor_after_an_error(self, single: Pool, roles: Mapping[str, str]) -> None:
        for statement in ("SELECT 1 / 0", "SELECT digest FROM api_keys"):
            with (
                pytest.raises((psycopg2.Error, StoreUnavailable)),
                single.transaction(monotonic() + 5, company_id="acme") as transaction,
            ):
                rows(transaction, statement)
            self.check(single, roles)

        def fail() -> None:
            with single.transaction(monotonic() + 5, company_id="acme") as transaction:
                rows(transaction, "UPDATE messages SET error_detail = 'lost'")
                raise KeyError("of the caller")

        with pytest.raises(KeyError):
            fail()
        self.check(single, roles)
        with single.transaction(monotonic() + 5, company_id="acme") as transaction:
            assert rows(transaction, "SELECT error_detail FROM messages") == [("",)], "rolled back"

    def test_nor_after_a_deadline(self, single: Pool, roles: Mapping[str, str]) -> None:
        with pytest.raises(StoreUnavailable), single.transaction(monotonic() + 0.3, company_id="acme") as transaction:
            rows(transaction, "SELECT pg_sleep(30)")
        self.check(single, roles)

    def test_nor_after_a_cancelled_statement(self, single: Pool, two: StoreEnv, roles: Mapping[str, str]) -> None:
        with pytest.raises(StoreUnavailable), single.transaction(monotonic() + 5, company_id="acme") as transaction:
            rows(transaction, "SET LOCAL statement_timeout = 50")
            rows(transaction, "SELECT pg_sleep(30)")
        self.check(single, roles)

    def test_a_change_is_committed(self, single: Pool) -> None:
        with single.transaction(monotonic() + 5, company_id="acme") as transaction:
            rows(transaction, "UPDATE messages SET error_detail = 'kept'")
        with single.transaction(monotonic() + 5) as transaction:
            assert sorted(rows(transaction, "SELECT company_id, error_detail FROM messages")) == [
                ("acme", "kept"),
                ("globex", ""),
            ]

    def test_a_transaction_that_its_caller_left_open_is_not_handed_on(
        self, single: Pool, roles: Mapping[str, str]
    ) -> None:
        with single.statements(monotonic() + 5) as transaction:
            rows(transaction, "BEGIN")
            rows(
                transaction,
                "SELECT set_config('role', tenant_role(), true), set_config('bulkhead.company_id', 'acme', true)",
            )
        self.check(single, roles)

    def test_behind_a_pooler_that_ignores_session_settings_no_role_is_left_in_the_session(
        self, two: StoreEnv, roles: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect = psycopg2.connect
        monkeypatch.setattr(psycopg2, "connect", lambda url, **fields: connect(url, **{**fields, "options": ""}))
        pool = Pool(two.url, limit=1, application_name="pooled", idle_s=30.0, connect_s=5.0)
        owner = query(two.url, "SELECT session_user AS name")[0]["name"]
        for company in ("acme", None, "globex"):
            seen, role = whose(pool, company)
            assert (seen, role) == (({company}, roles["tenant"]) if company else ({"acme", "globex"}, owner))
        pool.close()
