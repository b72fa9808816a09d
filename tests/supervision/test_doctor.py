"""`bulkhead doctor` on broken installations: each is broken for real, and the check that is about it says so."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import redis
from psycopg2 import sql

from shared.process.exit_codes import ExitCode
from shared.secrets import Vault
from shared.settings import Settings
from shared.store import sealed
from supervision import diagnosis
from supervision.commands.command_exits import CommandExit
from tests.store.env import open_store
from tests.support import environment, ports
from tests.support.database import query
from tests.support.servers import Servers

ROLE = "doctored"
OTHER_KEY = b64encode(b"k" * 32).decode()


@dataclass
class Patient:
    """An installation on real servers, whole until a test breaks it."""

    home: Path
    servers: Servers
    database: str
    database_url: str
    redis_url: str
    closing: ExitStack
    variables: dict[str, Any] = field(default_factory=dict)

    def set(self, **variables: Any) -> None:
        """Give it settings."""
        self.variables |= variables

    def sql(self, statement: str, *names: str) -> None:
        """Run a statement as the server's administrator."""
        query(self.servers.database_server_url, sql.SQL(statement).format(*map(sql.Identifier, names)))

    def as_role(self, attributes: str = "") -> None:
        """Use the database as another role."""
        self.sql(f"CREATE ROLE {{}} {attributes}", ROLE)
        self.closing.callback(self.sql, "DROP ROLE {}", ROLE)
        self.sql("GRANT {} TO CURRENT_USER", ROLE)
        mark = "&" if urlsplit(self.database_url).query else "?"
        self.set(database_url=f"{self.database_url}{mark}options={quote(f'-c role={ROLE}')}")

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return subprocess.run(
            [sys.executable, "orchestrator.py", "doctor", *words],
            cwd=environment.REPOSITORY,
            env=environment.clean(bulkhead_home=self.home, **self.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture(scope="module")
def doctored_database(servers: Servers) -> Iterator[tuple[str, str]]:
    name, url = servers.new_database()
    yield name, url
    servers.drop_database(name)


@pytest.fixture
def patient(home: Path, servers: Servers, doctored_database: tuple[str, str], redis_url: str) -> Iterator[Patient]:
    name, url = doctored_database
    first = ports.free_port_block(104)
    with ExitStack() as cleanup:
        made = Patient(home, servers, name, url, redis_url, cleanup)
        made.set(
            database_url=url,
            redis_url=redis_url,
            admin_port=first,
            api_port=first + 100,
            webdriver_port=first + 101,
            meta_port=first + 102,
            sandbox_port=first + 103,
            secret_encryption_key=environment.SEALING_KEY,
            # few enough for the suite's own server
            database_pool_api_max=2,
            database_pool_meta_max=2,
            database_pool_webdriver_max=2,
            database_pool_recorder_max=2,
            database_pool_hooks_max=2,
            database_pool_ai_max=2,
        )
        yield made


def test_a_whole_installation_is_well(patient: Patient) -> None:
    answer = patient.ask("--json")
    shown = json.loads(answer.stdout)
    assert (answer.returncode, shown["well"]) == (ExitCode.OK, True), answer.stdout
    assert {"python", "home", "disk", "ports", "chromium", "keys", "world", "database", "schema", "sealing keys",
            "redis", "webhooks"} <= {one["check"] for one in shown["checks"]}  # fmt: skip
    assert list(patient.home.iterdir()) == [], "asking leaves nothing behind"


def wrong_password(patient: Patient) -> None:
    parts = urlsplit(patient.database_url)
    patient.set(database_url=parts._replace(netloc=f"{parts.username}:wrong@").geturl())


def no_such_database(patient: Patient) -> None:
    patient.set(database_url=urlsplit(patient.database_url)._replace(path="/nosuch").geturl())


def unknown_option(patient: Patient) -> None:
    patient.set(database_url=f"{patient.database_url}&sslmoed=require")


def no_rights(patient: Patient) -> None:
    patient.as_role()


def few_connections(patient: Patient) -> None:
    patient.as_role("CONNECTION LIMIT 3")


def read_only(patient: Patient) -> None:
    patient.sql("ALTER DATABASE {} SET default_transaction_read_only = on", patient.database)
    patient.closing.callback(patient.sql, "ALTER DATABASE {} RESET default_transaction_read_only", patient.database)


def no_schema(patient: Patient) -> None:
    name, url = patient.servers.new_database(migrated=False)
    patient.closing.callback(patient.servers.drop_database, name)
    patient.set(database_url=url)


def short_key(patient: Patient) -> None:
    patient.set(secret_encryption_key="c2hvcnQ=")


def redis_evicts(patient: Patient) -> None:
    client = patient.closing.enter_context(closing(redis.Redis.from_url(patient.redis_url)))
    before: dict[str, str] = client.config_get("maxmemory*")  # type: ignore[assignment] # all of these are set
    client.config_set("maxmemory", 500_000_000)
    client.config_set("maxmemory-policy", "allkeys-lru")
    patient.closing.callback(client.config_set, "maxmemory-policy", before["maxmemory-policy"])
    patient.closing.callback(client.config_set, "maxmemory", before["maxmemory"])


def redis_away(patient: Patient) -> None:
    patient.set(redis_url="redis://127.0.0.1:1/0")


def port_taken(patient: Patient) -> None:
    patient.closing.enter_context(socket.create_server(("127.0.0.1", patient.variables["api_port"])))


def no_chromium(patient: Patient) -> None:
    patient.set(chromium_path="/nowhere/chromium")


def broken_chromium(patient: Patient) -> None:
    path = patient.home / "chromium"
    path.write_text("#!/bin/sh\necho cannot open shared object file >&2\nexit 127\n")
    path.chmod(0o700)
    patient.set(chromium_path=path)


def open_secret(patient: Patient) -> None:
    (patient.home / "api_key").write_text("a-key-that-all-can-read\n")
    (patient.home / "api_key").chmod(0o644)


def half_live(patient: Patient) -> None:
    patient.set(meta_app_secret="of the real app")


def plain_webhooks(patient: Patient) -> None:
    patient.set(sandbox="off", public_url="http://example.com")


def other_key(patient: Patient) -> None:
    with closing(open_store(patient.database_url, limit=1)) as store:
        store.run(sealed.admit_keys, Vault.from_settings(Settings(secret_encryption_key=OTHER_KEY)))
    patient.closing.callback(query, patient.database_url, "DELETE FROM secret_keys")


def misspelt_setting(patient: Patient) -> None:
    patient.set(database_pool_api_maxx=5)


BROKEN: dict[str, Callable[[Patient], None]] = {
    "a wrong password in `DATABASE_URL`": wrong_password,
    "`DATABASE_URL` names a database that does not exist": no_such_database,
    "a misspelt option in `DATABASE_URL`": unknown_option,
    "a database user without rights": no_rights,
    "fewer connections than the pools need": few_connections,
    "`DATABASE_URL` leads to a standby": read_only,
    "an empty database": no_schema,
    "a key that is none": short_key,
    "another installation's key": other_key,
    "Redis drops keys when memory is short": redis_evicts,
    "no Redis at `REDIS_URL`": redis_away,
    "another program on a port": port_taken,
    "`CHROMIUM_PATH` leads nowhere": no_chromium,
    "a Chromium without its libraries": broken_chromium,
    "a secret that others can read": open_secret,
    "`META_APP_SECRET` of a real app, and the sandbox still on": half_live,
    "webhooks by plain http": plain_webhooks,
    "a misspelt setting": misspelt_setting,
}
"""Each row of the table in docs/health.md by its first column, and how it is broken."""
CELLS = re.compile(r"(?<=\|) (.*?) (?=\|)")


def documented() -> list[list[str]]:
    """Return the cells of each row of the table."""
    text = (environment.REPOSITORY / "docs" / "health.md").read_text()
    table = text.partition("<!-- doctor on broken installations -->\n")[2].partition("\n<!-- end -->")[0]
    return [CELLS.findall(row) for row in html.unescape(table).splitlines()[2:]]


def fits(documented: str, said: str) -> bool:
    """Whether a text is as documented; `…` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, documented.split("…"))), said) is not None


def test_the_document_has_what_is_broken_here() -> None:
    assert [row[0] for row in documented()] == [*BROKEN]


@pytest.mark.parametrize("row", documented(), ids=lambda row: BROKEN[row[0]].__name__)
def test_what_is_broken_is_named_with_its_mend(patient: Patient, row: list[str]) -> None:
    broken, check, result, finding, mend = row
    BROKEN[broken](patient)
    answer = patient.ask("--json")
    checks = json.loads(answer.stdout)["checks"]
    fails = any(one["result"] == "fail" for one in checks)
    assert answer.returncode == (CommandExit.UNWELL if fails else ExitCode.OK), answer.stdout
    assert fails or result == "warn"
    found = [one for one in checks if (one["check"], one["result"]) == (check.strip("`"), result)]
    assert found, answer.stdout
    assert (fits(finding, found[0]["finding"]), fits(mend, found[0]["mend"])) == (True, True), found[0]
    assert environment.SEALING_KEY not in answer.stdout
    assert (urlsplit(patient.database_url).password or "no password") not in answer.stdout


def test_the_sandboxes_own_app_secret_is_no_sign_of_a_real_app(patient: Patient) -> None:
    (patient.home / "meta_app_secret").write_text("made at the first start\n")
    (patient.home / "meta_app_secret").chmod(0o600)
    world = next(one for one in json.loads(patient.ask("--json").stdout)["checks"] if one["check"] == "world")
    assert world["result"] == "ok", world


def test_wrong_settings_are_named_and_nothing_else_is_checked(patient: Patient) -> None:
    patient.set(api_port="many", in_doubt_policy="maybe")
    answer = patient.ask()
    assert answer.returncode == ExitCode.CONFIGURATION
    assert "API_PORT" in answer.stdout
    assert "IN_DOUBT_POLICY" in answer.stdout


def test_the_table_lines_up(patient: Patient) -> None:
    redis_away(patient)
    lines = patient.ask().stdout.splitlines()
    places = lines[0].index("RESULT"), lines[0].index("FINDING")
    for line in lines[1 : lines.index("")]:
        assert all(line[place - 1] == " " and (line[place] != " " or line[:place].isspace()) for place in places), line
        assert len(line) <= 110
    assert ", 1 failed, " in lines[-1]


def test_without_servers_of_ones_own_it_says_that_they_start_with_it(patient: Patient) -> None:
    patient.set(database_url="", redis_url="")
    checks = {one["check"]: one for one in json.loads(patient.ask("--json").stdout)["checks"]}
    assert "starts with Bulkhead" in checks["database"]["finding"]
    assert "starts with Bulkhead" in checks["redis"]["finding"]


@pytest.mark.parametrize(("free_mb", "result"), [(30, "fail"), (300, "warn"), (3000, "ok")])
def test_how_much_is_left_of_the_disk(monkeypatch: pytest.MonkeyPatch, home: Path, free_mb: int, result: str) -> None:
    usage = shutil.disk_usage(home)._replace(free=free_mb * 1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (found,) = diagnosis._disk(home)
    assert (found.result, "Free space" in found.mend) == (result, result != "ok")


def test_a_webhook_address_without_an_answer(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(diagnosis, "is_running", lambda _: True)
    closed = ports.free_port_block(1)
    found = diagnosis.check_webhooks(
        Settings(bulkhead_home=home, sandbox="off", public_url=f"https://127.0.0.1:{closed}", meta_verify_token="t")
    )
    assert found.result == "warn"
    assert f"https://127.0.0.1:{closed}/api/meta/webhook does not answer" in found.finding
    assert "META_PORT" in found.mend
