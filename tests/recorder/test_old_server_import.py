"""Numbers, contacts, history and profiles of a single-process server: taken over once, paused, whatever is repeated."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recorder import browser_profiles
from recorder.browser_profiles import ProfileInUse, find_profile, take_profile
from recorder.old_server_import import PAUSED, RowRefused, _message
from shared.process.exit_codes import ExitCode
from shared.secrets import Sealed, Vault
from shared.settings import Settings
from shared.store import connections, migrate
from shared.store.old_server import OldTablesUnknown, chosen_columns
from tests.store.env import open_store
from tests.support import environment
from tests.support.database import query
from webdriver.chromium import profile as session_profile

OLD_TABLES = Path(__file__).parents[1] / "store" / "data" / "old_server.sql"
KEY = "A" * 43 + "="


def run_import(url: str, home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "orchestrator.py", "import", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(database_url=url, bulkhead_home=home, secret_encryption_key=KEY, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def old_url(empty_database_url: str) -> str:
    """A database of a single-process server, with Bulkhead's tables beside."""
    query(empty_database_url, OLD_TABLES.read_text(encoding="utf-8"))
    migrate.apply(empty_database_url)
    return empty_database_url


def test_a_server_is_taken_over_and_a_second_run_brings_only_what_is_new(old_url: str, home: Path) -> None:
    dry = run_import(old_url, home, "--dry-run")
    assert "numbers: public.phone_configs (company_id=company_id" in dry.stdout, dry.stderr
    assert query(old_url, "SELECT id FROM bulkhead_tables.phone_configs") == []

    first = run_import(old_url, home)
    assert first.returncode == 1, first.stderr
    assert first.stdout.splitlines()[1:3] == ["  made 4", "  refused 1: Unknown connection type 'pigeon'; known: "
        "wwebjs, meta_direct, meta_embedded, 360dialog, messenger, instagram"]  # fmt: skip
    assert "  created 3" in first.stdout and "  new 3, known 0" in first.stdout, first.stdout
    assert "refused 1: its number is not here" in first.stdout
    numbers = query(old_url, "SELECT * FROM bulkhead_tables.phone_configs ORDER BY company_id, phone_index")
    assert [(row["connection_type"], row["status"], row["status_reason"]) for row in numbers] == [
        (kind, "paused", PAUSED) for kind in ("meta_direct", "wwebjs", "360dialog", "meta_embedded")
    ]
    assert [row["desired_state"] for row in numbers] == ["linked", "paused", "linked", "linked"], "no second browser"
    assert (numbers[0]["account_id"], numbers[0]["waba_id"]) == ("100000000000001", "200000000000001")
    vault = Vault.from_settings(Settings(bulkhead_home=home, secret_encryption_key=KEY))
    opened = [
        vault.open(
            Sealed.from_text(row["credentials"]),
            context=connections.credentials_context(row["company_id"], row["phone_index"]),
        )
        for row in (numbers[0], numbers[2])
    ]
    assert opened == ['{"access_token": "token-of-acme"}', '{"api_key": "key-of-acme"}']
    # chats are read and found like all others, and there are no events of years ago
    store = open_store(old_url)
    lines = query(
        old_url,
        "SELECT chat_id, from_me, content ->> 'body' AS body, may_trigger FROM bulkhead_tables.inbound_messages "
        "ORDER BY at",
    )
    assert [(row["chat_id"], row["from_me"], row["body"]) for row in lines] == [
        ("15550100200", False, "Is the boat watertight?"),
        ("15550100200", True, "It has bulkheads."),
        ("15550100201", True, "Hello"),
    ]
    assert not any(row["may_trigger"] for row in lines)
    assert query(old_url, "SELECT count(*) AS n FROM bulkhead_tables.chats")[0]["n"] == 2
    assert query(old_url, "SELECT count(*) AS n FROM bulkhead_tables.events WHERE subject = 'message'")[0]["n"] == 0
    store.close()

    # an operator has moved one number meanwhile, and the server goes on
    query(
        old_url,
        "SET search_path TO bulkhead_tables; "
        "UPDATE phone_configs SET status = 'active', status_reason = '' WHERE phone_index = 2",
    )
    query(
        old_url,
        "INSERT INTO public.messages (company_id, phone_index, message_id, chat_id, body, timestamp) "
        "VALUES ('acme', 0, 'wamid.old.3', '15550100200', 'One more', now())",
    )
    second = run_import(old_url, home)
    assert "  known 4" in second.stdout and "  unchanged 3" in second.stdout and "  new 1, known 3" in second.stdout
    assert query(old_url, "SELECT status FROM bulkhead_tables.phone_configs WHERE phone_index = 2") == [
        {"status": "active"}
    ]


def test_a_database_elsewhere_and_one_company(old_url: str, database_url: str, home: Path) -> None:
    answer = run_import(database_url, home, "--what", "numbers", "--company", "globex", old_database_url=old_url)
    assert "  made 1" in answer.stdout, answer.stderr
    assert query(database_url, "SELECT company_id FROM phone_configs") == [{"company_id": "globex"}]
    wrong = run_import(database_url, home, "--column", "history.chat_id=nope", old_database_url=old_url)
    assert wrong.returncode == ExitCode.USAGE
    assert "history: there is no column nope; there are id, company_id" in wrong.stderr


class TestColumns:
    def test_other_spellings_are_found(self) -> None:
        present = ["id", "companyId", "phoneIndex", "wamid", "remoteJid", "fromMe", "text", "createdAt"]
        assert chosen_columns("history", present, {}) == {
            "company_id": "companyId",
            "phone_index": "phoneIndex",
            "provider_id": "wamid",
            "chat_id": "remoteJid",
            "from_me": "fromMe",
            "body": "text",
            "at": "createdAt",
        }

    def test_what_is_missing_is_named_with_the_option(self) -> None:
        with pytest.raises(
            OldTablesUnknown, match=r"no column for phone; name it with --column contacts\.phone=COLUMN"
        ):
            chosen_columns("contacts", ["company_id", "tel"], {})
        assert chosen_columns("contacts", ["company_id", "tel"], {"phone": "tel"})["phone"] == "tel"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"at": 1714557600}, datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"at": "1714557600000"}, datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ({"at": datetime(2024, 5, 1, 10)}, datetime(2024, 5, 1, 10, tzinfo=UTC)),
    ],
)
def test_instants_of_every_form(row: Mapping[str, object], expected: datetime) -> None:
    assert _message({"provider_id": "x", "chat_id": "15550100200", **row}, 1).at == expected


def test_a_file_leaves_a_line_and_a_row_without_a_time_is_refused() -> None:
    row = {"provider_id": "x", "chat_id": "15550100200", "type": "image", "at": 0, "direction": None}
    assert (_message(row, 1).type, _message({**row, "body": "caption"}, 1).type) == ("unknown", "text")
    assert _message({**row, "from_me": "outbound"}, 1).sender == ""
    with pytest.raises(RowRefused, match="its time is none"):
        _message({**row, "at": "yesterday"}, 1)


class TestProfiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A `.wwebjs_auth` with one session."""
        made = tmp_path / ".wwebjs_auth" / "session-acme_1"
        (made / "Default" / "Local Storage").mkdir(parents=True)
        (made / "Default" / "Local Storage" / "log").write_text("link")
        (made / "Default" / "Cache").mkdir()
        return made.parent

    def test_a_profile_is_copied_once_to_where_its_session_runs(self, folder: Path, home: Path) -> None:
        found = find_profile(folder, "acme", 1)
        assert found is not None and find_profile(folder, "acme", 2) is None
        (found / "SingletonLock").symlink_to(f"{socket.gethostname()}-{2**22 + 1}")
        assert take_profile(found, home, 7)
        place = session_profile.directory(home, 7)
        assert [path.name for path in place.rglob("*")] == ["Default", "Local Storage", "log"]
        assert place.parent == home / browser_profiles.SESSIONS == session_profile.root(home)
        assert session_profile.kept(home) == [place]
        assert not take_profile(found, home, 7)

    def test_one_that_a_browser_uses_is_left_alone(self, folder: Path, home: Path) -> None:
        lock = folder / "session-acme_1" / "SingletonLock"
        for owner, words in ((f"{socket.gethostname()}-{os.getpid()}", "runs on"), ("elsewhere-1", "locked on host")):
            lock.unlink(missing_ok=True)
            lock.symlink_to(owner)
            with pytest.raises(ProfileInUse, match=words):
                take_profile(folder / "session-acme_1", home, 7)
        assert session_profile.kept(home) == []
