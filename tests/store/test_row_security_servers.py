"""Row-level security on servers and databases of others: an owner who may not make roles, two installations on one
server, and databases with data from before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit

import pytest
import yoyo
from psycopg2 import sql

from shared.errors import MigrationRefused
from shared.store import migrate
from tests.store.env import StoreEnv, open_store
from tests.store.test_row_security import TENANT_MAY, companies_seen, granted, rows
from tests.support.database import query
from tests.support.servers import Servers


class Owner:
    """A user who owns a database of its own, as an external server has it."""

    def __init__(self, servers: Servers, name: str, attributes: str) -> None:
        self._servers, self.name, self._roles_are_given = servers, name, attributes == "NOCREATEROLE"
        self._admin = servers.database_server_url
        self.sql("CREATE ROLE {} " + attributes, name)
        # who makes a role may only then make a database for it
        self.sql("GRANT {} TO CURRENT_USER", name)
        self.database, admin_url = servers.new_database(migrated=False)
        self.sql("ALTER DATABASE {} OWNER TO {}", self.database, name)
        # signs in as the suite's user: the server's access file names no other
        self.url = f"{admin_url}{'&' if urlsplit(admin_url).query else '?'}options={quote(f'-c role={name}')}"

    def sql(self, statement: str, *names: str) -> None:
        """Run a statement as the server's administrator."""
        query(self._admin, sql.SQL(statement).format(*map(sql.Identifier, names)))

    def close(self) -> None:
        """Remove database, user and the roles that were made for them."""
        made = query(self.url, "SELECT runtime_role() AS runtime, tenant_role() AS tenant")[0]
        self._servers.drop_database(self.database)
        for role in made.values():
            if role not in ("none", "bulkhead_runtime", "bulkhead_tenant"):
                # by the one who made it
                self.sql(
                    "DROP ROLE {}" if self._roles_are_given else "SET ROLE {}; DROP ROLE {}",
                    *[self.name, role][self._roles_are_given :],
                )
        self.sql("DROP ROLE {}", self.name)


@pytest.fixture
def plain_owner(servers: Servers) -> Iterator[Owner]:
    """An owner who may not make roles."""
    made = Owner(servers, "plain_owner", "NOCREATEROLE")
    yield made
    made.close()


class TestOtherServers:
    def test_an_owner_who_may_not_make_roles_starts_and_roles_are_given_what_to_run(
        self, plain_owner: Owner, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            migrate.apply(plain_owner.url)
        assert "row_security_unavailable" in caplog.text
        store = open_store(plain_owner.url)
        assert store.as_company("acme").run(rows, "SELECT id FROM messages") == []
        store.close()
        with pytest.raises(MigrationRefused, match="let an administrator run") as refused:
            migrate.apply(plain_owner.url, requires_row_security=True)
        for statement in str(refused.value).partition(" run ")[2].split("; "):
            plain_owner.sql(statement)
        migrate.apply(plain_owner.url, requires_row_security=True)
        names = query(plain_owner.url, "SELECT runtime_role() AS runtime, tenant_role() AS tenant")[0]
        # the other roles of the server are another installation's
        assert all(name.startswith(f"bulkhead_{purpose}_") for purpose, name in names.items())
        assert granted(plain_owner.url, names["tenant"]) == dict(TENANT_MAY)
        # from now on it never falls back to running without
        plain_owner.sql("REVOKE {} FROM {}", names["tenant"], plain_owner.name)
        with pytest.raises(MigrationRefused, match="are gone, or"):
            migrate.apply(plain_owner.url)

    def test_an_owner_who_may_make_roles_has_its_own(self, servers: Servers) -> None:
        owner = Owner(servers, "role_making_owner", "CREATEROLE")
        migrate.apply(owner.url, requires_row_security=True)
        names = query(owner.url, "SELECT runtime_role() AS runtime, tenant_role() AS tenant")[0]
        assert all(name.startswith(f"bulkhead_{purpose}_") for purpose, name in names.items())
        owner.close()


def roll_back_to(url: str, last: str) -> Sequence[str]:
    """Undo the migrations after `last`, newest first, and return their names."""
    backend = yoyo.get_backend(url)
    newer = backend.to_rollback(yoyo.read_migrations(str(migrate.migrations_directory())).filter(lambda m: m.id > last))
    names = [migration.id for migration in newer]
    backend.rollback_migrations(newer)
    backend.connection.close()
    return names


class TestUpgrade:
    def test_a_database_with_data_is_protected_and_let_go_again(self, own_env: StoreEnv) -> None:
        env = own_env
        env.accept("a")
        env.accept("a", company_id="globex", connection_id=env.connect("globex"))
        assert "0080.row-level-security" in roll_back_to(env.url, "0079")
        left = query(env.url, "SELECT relname FROM pg_class WHERE relrowsecurity OR relforcerowsecurity")
        assert (left, query(env.url, "SELECT polname FROM pg_policy")) == ([], [])
        assert granted(env.url, "bulkhead_tenant") == granted(env.url, "bulkhead_runtime") == {}
        assert {row["company_id"] for row in query(env.url, "SELECT company_id FROM messages")} == {"acme", "globex"}
        migrate.apply(env.url)
        assert env.store.as_company("acme").run(companies_seen) == {"acme"}
        assert granted(env.url, "bulkhead_tenant") == dict(TENANT_MAY)

    def test_rows_that_mix_companies_are_named(self, own_env: StoreEnv) -> None:
        env = own_env
        (wrong,) = env.accept("a")
        env.connect("globex")
        roll_back_to(env.url, "0080.z")
        query(env.url, "UPDATE messages SET company_id = 'globex'")
        with pytest.raises(MigrationRefused, match=rf"1 rows of messages \(the first: id {wrong}\)"):
            migrate.apply(env.url)
        query(env.url, "UPDATE messages SET company_id = 'acme'")
        assert "0081.composite-keys" in migrate.apply(env.url)
