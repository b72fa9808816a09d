"""Code and documents keep to the glossary; each check is shown to find something first."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.architecture import words
from tests.architecture.source import Module
from tests.architecture.test_layout import PROGRAM, TESTS, require_none
from tests.support import environment

pytestmark = pytest.mark.fast

GLOSSARY = words.glossary((environment.REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))
OLD = [word for row in GLOSSARY for word in row.replaced]

NAMES_NOT_YET: tuple[str, ...] = (
    "chaos/fault_actions.py",
    "chaos/installation.py",
    "chaos/judge.py",
    "chaos/ledger.py",
    "embedded/server.py",
    "recorder/environment_seeds.py",
    "recorder/room.py",
    "sandbox/control.py",
    "sandbox/ledger.py",
    "sandbox/openapi/extract.py",
    "sandbox/tally.py",
    "sandbox/web/devices.py",
    "sandbox/web/phones.py",
    "shared/arrivals.py",
    "shared/delivery/pacer.py",
    "shared/kinds.py",
    "shared/process/child.py",
    "shared/queues/worker.py",
    "shared/store/connections.py",
    "shared/store/queries/inbound.sql",
    "shared/store/queries/interventions.sql",
    "shared/store/queries/messages.sql",
    "supervision/commands/asking.py",
    "supervision/commands/connections.py",
    "supervision/commands/env.py",
    "supervision/commands/sessions.py",
    "supervision/commands/status.py",
    "supervision/supervisor.py",
    "tests/chaos/test_judge.py",
    "tests/chaos/test_judge_reports.py",
    "tests/chaos/test_program.py",
    "tests/delivery/test_dispatcher.py",
    "tests/delivery/test_pacing.py",
    "tests/delivery/test_reconcile.py",
    "tests/delivery/test_webhook_outages.py",
    "tests/e2e/conversation.py",
    "tests/e2e/test_additions.py",
    "tests/embedded/test_postgres.py",
    "tests/embedded/test_server.py",
    "tests/model/life.py",
    "tests/process/test_child.py",
    "tests/process/test_database_away.py",
    "tests/recorder/test_recorder.py",
    "tests/sandbox/test_accounts.py",
    "tests/sandbox/test_customers.py",
    "tests/sandbox/test_examples.py",
    "tests/sandbox/test_ledger.py",
    "tests/sandbox/test_openapi.py",
    "tests/sandbox/test_process.py",
    "tests/sandbox/test_web.py",
    "tests/sandbox/test_webhooks.py",
    "tests/store/test_connection_care.py",
    "tests/store/test_message_ends.py",
    "tests/store/test_receipts.py",
    "tests/store/test_records.py",
    "tests/store/test_schema.py",
    "tests/store/test_sessions.py",
    "tests/supervision/children/childhood.py",
    "tests/supervision/test_adoption.py",
    "tests/supervision/test_command_line.py",
    "tests/supervision/test_decide.py",
    "tests/supervision/test_decide_asked.py",
    "tests/supervision/test_decide_machine.py",
    "tests/supervision/test_environment.py",
    "tests/supervision/test_hangs.py",
    "tests/supervision/test_journal.py",
    "tests/supervision/test_listeners.py",
    "tests/supervision/test_resources.py",
    "tests/supervision/test_sessions_command.py",
    "tests/supervision/test_starvation.py",
    "tests/supervision/test_supervised.py",
    "tests/supervision/test_trees.py",
    "tests/unit/test_leaves.py",
    "tests/unit/test_settings.py",
    "tests/webdriver/test_channel.py",
    "tests/webdriver/test_contract.py",
    "tests/webdriver/test_limits.py",
    "tests/webdriver/test_mixed_process.py",
    "tests/webdriver/test_operations.py",
    "webdriver/channel.py",
    "webdriver/chromium/launcher.py",
    "webdriver/session/resource_usage.py",
    "webdriver/session/session.py",
)
"""Files, or folders, whose names still have old words. To be empty."""

PROSE_NOT_YET: tuple[str, ...] = (
    "embedded/__init__.py",
    "embedded/entry.py",
    "embedded/server.py",
    "shared/kinds.py",
    "tests/sandbox/test_examples.py",
    "tests/supervision/children/ignores_term.py",
)
"""Files, or folders, whose sentences still have persons for processes. To be empty."""

MODULES = [*PROGRAM.modules.values(), *TESTS.modules.values()]


def tracked(*patterns: str) -> list[Path]:
    """Return files that git knows, without migrations and dumps, which are history."""
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=environment.REPOSITORY, capture_output=True, text=True, check=True
    )
    return [
        Path(line) for line in listed.stdout.splitlines() if not line.startswith(("migrations/", "tests/store/data/"))
    ]


def text_of(path: Path) -> str:
    return (environment.REPOSITORY / path).read_text(encoding="utf-8")


SQL = tracked("*.sql")
PAGES = [path for path in tracked("*.md") if path.parts[:2] != ("docs", "adr") and path.name != "CHANGELOG.md"]


def outside(path: Path, not_yet: tuple[str, ...]) -> bool:
    """Whether a file is none of those in the list."""
    return not any(path == Path(entry) or Path(entry) in path.parents for entry in not_yet)


def module(text: str) -> Module:
    return Module("example", Path("example.py"), text)


def test_the_glossary_is_read() -> None:
    assert len(GLOSSARY) > 30
    assert {"law", "vigil", "house", "told"} <= set(OLD)


def test_no_name_has_an_old_word() -> None:
    found = []
    for one in filter(lambda one: outside(one.path, NAMES_NOT_YET), MODULES):
        found += words.old_names(one.path, words.names_in(one), OLD)
    for path in filter(lambda path: outside(path, NAMES_NOT_YET), SQL):
        found += words.old_names(path, words.names_in_sql(text_of(path)), OLD)
    require_none(found)


def test_no_sentence_has_a_person_for_a_process() -> None:
    found = []
    for one in filter(lambda one: outside(one.path, PROSE_NOT_YET), MODULES):
        found += words.persons_and_voices(one.path, words.prose_of_python(one))
    for path in filter(lambda path: outside(path, PROSE_NOT_YET), SQL):
        found += words.persons_and_voices(path, words.prose_of_sql(text_of(path)))
    for path in filter(lambda path: outside(path, PROSE_NOT_YET), PAGES):
        found += words.persons_and_voices(path, words.prose_of_markdown(text_of(path)))
    require_none(found)


def test_every_page_opens_with_who_needs_it() -> None:
    require_none(
        [line for path in PAGES if path.parts[0] == "docs" for line in words.says_for_whom(path, text_of(path))]
    )


def test_every_table_has_headings() -> None:
    require_none([line for path in PAGES for line in words.empty_headings(path, text_of(path))])


def test_statements_fit_into_120_columns() -> None:
    require_none([line for path in SQL for line in words.wide_lines(path, text_of(path))])


@pytest.mark.parametrize(
    ("name", "old", "found"),
    [
        ("retry_law", "law", True),
        ("RetryLaw", "law", True),
        ("flawed", "law", False),
        ("LAWS", "law", False),
        ("the_flight_record_file", "flight_record", True),
        ("record_flight", "flight_record", False),
    ],
)
def test_a_name_is_read_by_its_words(name: str, old: str, found: bool) -> None:
    assert words.holds(name, old) is found


def test_names_are_found_where_they_are_made() -> None:
    code = module("class Law: pass\ndef f(law_of): self.law = law = 1\nprint(law)\n")
    assert len(words.old_names(code.path, words.names_in(code), ["law"])) == 3
    assert len(words.old_names(Path("law.py"), (), ["law"])) == 1
    statements = "SELECT law FROM t -- a law\nWHERE x = 'law'"
    assert words.old_names(Path("a.sql"), words.names_in_sql(statements), ["law"]) == [
        "a.sql:1: law has the old word 'law'; see the glossary"
    ]


def test_persons_are_found_in_comments_docstrings_and_documents() -> None:
    code = module('"""He waits."""\nx = "he"  # nobody hears it\n')
    assert len(words.persons_and_voices(code.path, words.prose_of_python(code))) == 3
    assert len(words.persons_and_voices(Path("a.sql"), words.prose_of_sql("SELECT he -- what became of it"))) == 1
    page = "Whoever reads\n\n```\nhe\n```\n`told` [x](news.md) the newsletter\n"
    assert len(words.persons_and_voices(Path("a.md"), words.prose_of_markdown(page))) == 1


def test_pages_are_read_by_their_first_lines_and_tables() -> None:
    assert words.says_for_whom(Path("a.md"), "# A\n\nFor operators.\n") == []
    assert len(words.says_for_whom(Path("a.md"), "# A\n\nThis is A.\n")) == 1
    assert len(words.empty_headings(Path("a.md"), "| | |\n|---|---|\n| a | b |\n")) == 1
    assert words.empty_headings(Path("a.md"), "| a | |\n|---|---|\n| | b |\n") == []
