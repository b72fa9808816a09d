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

COLUMNS = {"forgiven", "heard_until", "witness"}
"""Names of columns that older schemas chose; statements select them under the glossary's word."""

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


def module(text: str) -> Module:
    return Module("example", Path("example.py"), text)


def test_the_glossary_is_read() -> None:
    assert len(GLOSSARY) > 30
    assert {"law", "vigil", "house", "told"} <= set(OLD)


def test_no_name_has_an_old_word() -> None:
    found = []
    for one in MODULES:
        names = list(words.names_in(one))
        found += words.old_names(one.path, names, OLD) + words.persons_in_names(one.path, names)
    for path in SQL:
        names = [(line, name) for line, name in words.names_in_sql(text_of(path)) if name not in COLUMNS]
        found += words.old_names(path, names, OLD) + words.persons_in_names(path, names)
    require_none(found)


def test_no_log_event_has_an_old_word() -> None:
    found = []
    for one in PROGRAM.modules.values():
        found += words.old_names(one.path, words.log_events(one), OLD)
        found += words.persons_in_names(one.path, words.log_events(one))
    require_none(found)


def test_no_text_for_users_has_a_person_for_a_process() -> None:
    require_none(
        [
            line
            for one in PROGRAM.modules.values()
            for line in words.persons_and_voices(one.path, words.literals_of_python(one))
        ]
    )


def test_no_sentence_has_a_person_for_a_process() -> None:
    found = []
    for one in MODULES:
        found += words.persons_and_voices(one.path, words.prose_of_python(one))
    for path in SQL:
        found += words.persons_and_voices(path, words.prose_of_sql(text_of(path)))
    for path in PAGES:
        found += words.persons_and_voices(path, words.prose_of_markdown(text_of(path)))
    require_none(found)


def test_every_page_opens_with_who_needs_it() -> None:
    require_none(
        [line for path in PAGES if path.parts[0] == "docs" for line in words.says_for_whom(path, text_of(path))]
    )


def test_no_page_mixes_use_and_internals() -> None:
    pages = [path for path in PAGES if path.parts[0] == "docs"]
    require_none([line for path in pages for line in words.mixes_use_and_internals(path, text_of(path))])


def test_every_link_leads_to_a_file() -> None:
    pages = [*PAGES, *tracked("docs/adr/*.md")]
    require_none([line for path in pages for line in words.dead_links(environment.REPOSITORY, path, text_of(path))])


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


def test_persons_are_found_in_names_log_events_and_texts() -> None:
    code = module(
        '"""Told by nobody."""\nnobody_waits = 1\nlog.info("peer_heard", n=1)\nraise Refused("there is nobody here")\n'
        'title = "nobody"\n'
    )
    assert len(words.persons_in_names(code.path, words.names_in(code))) == 1
    assert len(words.persons_in_names(code.path, words.log_events(code))) == 1
    assert len(words.old_names(code.path, [*words.log_events(module('log.error("wanted_kept")'))], ["wanted"])) == 1
    assert len(words.persons_and_voices(code.path, words.literals_of_python(code))) == 1, "docstrings have a check each"


@pytest.mark.parametrize("word", OLD)
def test_each_old_word_is_found_where_it_is_planted(word: str) -> None:
    name = word.lower()
    code = module(f"def read_{name}(): pass\nlog.info('{name}_read')\n")
    assert words.old_names(code.path, words.names_in(code), [word])
    assert words.old_names(code.path, words.log_events(code), [word])
    assert words.old_names(Path("a.sql"), words.names_in_sql(f"SELECT {name}_at FROM t"), [word])


def test_pages_are_read_by_their_first_lines_and_tables() -> None:
    assert words.says_for_whom(Path("a.md"), "# A\n\nFor operators.\n") == []
    assert len(words.says_for_whom(Path("a.md"), "# A\n\nThis is A.\n")) == 1
    assert len(words.mixes_use_and_internals(Path("docs/a.md"), "# A\n\n## How it works\n\n| file | is about |\n")) == 2
    assert len(words.mixes_use_and_internals(Path("docs/internals/a.md"), "# A\n\nFor operators.\n")) == 1
    assert words.mixes_use_and_internals(Path("docs/internals/a.md"), "# A\n\nFor developers of A.\n") == []
    assert words.dead_links(Path(), Path("a.md"), "[a](b/none.md#x) [b](https://c.d) `x`") == [
        "a.md: there is no b/none.md"
    ]
    assert len(words.empty_headings(Path("a.md"), "| | |\n|---|---|\n| a | b |\n")) == 1
    assert words.empty_headings(Path("a.md"), "| a | |\n|---|---|\n| | b |\n") == []
