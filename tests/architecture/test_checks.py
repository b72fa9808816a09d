"""Each check can fail: here it reads a small bad tree and says what is wrong and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import checks
from tests.architecture.source import Source

Tree = Callable[..., Source]

LAYERS = {
    "shared": (),
    "shared.store": ("shared",),
    "api": ("shared", "shared.store"),
    "meta": ("shared",),
    "proc_api": ("api",),
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files (path, then text) and read them as source."""

    def write(files: dict[str, str]) -> Source:
        for path, text in files.items():
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return Source(tmp_path)

    return write


def test_imports_pointing_up(tree: Tree) -> None:
    source = tree(
        {
            "proc_api.py": "import api.room",
            "api/room.py": "from shared import states\nfrom shared.store import pool",
            "shared/states.py": "from api.room import x",
            "shared/store/pool.py": "from shared import states\ndef late():\n    from ..process import child",
            "shared/process/child.py": "",
            "stray.py": "",
        }
    )
    assert checks.imports_pointing_up(source, {**LAYERS, "shared.process": ("shared", "shared.store")}) == [
        "stray.py: stands in no layer; add a row to the rules",
        "shared/states.py:1: shared may not import api (api.room.x)",
        "shared/store/pool.py:3: shared.store may not import shared.process (shared.process.child)",
    ]


def test_a_folder_in_shared_without_a_row_is_no_leaf(tree: Tree) -> None:
    source = tree({"shared/states.py": "", "shared/newroom/thing.py": ""})
    assert checks.imports_pointing_up(source, LAYERS) == [
        "shared/newroom/thing.py: stands in no layer; add a row to the rules"
    ]


def test_imports_for_type_checking_count_too(tree: Tree) -> None:
    source = tree(
        {
            "shared/states.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from api.room import X",
            "api/room.py": "",
        }
    )
    assert checks.imports_pointing_up(source, LAYERS) == ["shared/states.py:3: shared may not import api (api.room.X)"]


def test_rooms_that_know_each_other(tree: Tree) -> None:
    source = tree(
        {"api/room.py": "import meta.client", "meta/client.py": "from meta import codes", "meta/codes.py": ""}
    )
    assert checks.rooms_that_know_each_other(source, ["api", "meta"]) == ["api/room.py:1: room api imports room meta"]


def test_cycles(tree: Tree) -> None:
    good = {"api/__init__.py": "from api import a", "api/a.py": "from api import b", "api/b.py": "import os"}
    assert checks.cycles(tree(good)) == []
    (found,) = checks.cycles(tree(good | {"api/b.py": "def later():\n    import api.a"}))
    assert found.startswith("circle of imports: ")
    assert "api.a" in found
    assert "api.b" in found


def test_side_doors(tree: Tree) -> None:
    source = tree(
        {
            "shared/store/pool.py": "import psycopg2.extras",
            "api/room.py": "from psycopg2 import sql\nimport unknown_package\nimport json\nimport shared.store.pool",
        }
    )
    assert checks.side_doors(source, {"psycopg2": ["shared.store"]}) == [
        "api/room.py:1: psycopg2 enters only by shared.store",
        "api/room.py:2: unknown_package has no door; add it to the rules or leave it out",
    ]


def test_a_door_is_no_prefix_of_a_name(tree: Tree) -> None:
    source = tree({"shared/storehouse.py": "import psycopg2"})
    assert checks.side_doors(source, {"psycopg2": ["shared.store"]}) == [
        "shared/storehouse.py:1: psycopg2 enters only by shared.store"
    ]


def test_doors_without_use(tree: Tree) -> None:
    source = tree({"shared/store/pool.py": "import psycopg2"})
    assert checks.doors_without_use(source, {"psycopg2": ["shared.store", "api"]}) == [
        "psycopg2: nobody imports it in api"
    ]


def test_readers_of_environment(tree: Tree) -> None:
    text = "import os\nfrom os import getenv\nos.environ['X'] = '1'\nos.path.join('environ')"
    source = tree({"api/room.py": text, "shared/settings.py": text})
    place = "only shared.settings may touch the environment"
    assert sorted(checks.readers_of_environment(source, ["shared.settings"])) == [
        f"api/room.py:2: {place}",
        f"api/room.py:3: {place}",
    ]


def test_empty_names(tree: Tree) -> None:
    source = tree(
        {
            "api/utils.py": "",
            "api/common/thing.py": "",
            "api/sessions.py": "class SessionManager:\n    pass\nclass Session:\n    pass",
        }
    )
    assert sorted(checks.empty_names(source, ["utils", "common", "manager"])) == [
        "api/common/thing.py: the name 'common' says nothing",
        "api/sessions.py:1: the class name SessionManager says nothing",
        "api/utils.py: the name 'utils' says nothing",
    ]


def test_repeated_class_names(tree: Tree) -> None:
    source = tree(
        {
            "api/pages.py": "class Page:\n    pass\nclass _Run:\n    pass\nclass Tick:\n    pass",
            "meta/pages.py": "class Page:\n    pass\nclass _Run:\n    pass\nclass Tick:\n    pass",
        }
    )
    assert checks.repeated_class_names(source, ["Tick", "Beat"]) == [
        "Page: api/pages.py:1, meta/pages.py:1; one name, one meaning",
        "Beat: listed, but not repeated",
    ]


def test_long_files(tree: Tree) -> None:
    source = tree({"long.py": "\n" * 11, "known.py": "\n" * 11, "short.py": "\n" * 10})
    assert checks.long_files(source, 10, {"known.py": "one table", "short.py": "was long once"}) == [
        "long.py: 11 lines, more than 10; split it or give the reason",
        "short.py: listed as long, but is not",
    ]
    assert "known.py: 11 lines, more than 10; split it or give the reason" in checks.long_files(
        source, 10, {"known.py": ""}
    )


def test_modules_without_docstring(tree: Tree) -> None:
    source = tree({"bad.py": "x = 1", "good.py": '"""A sentence."""', "package/__init__.py": ""})
    assert checks.modules_without_docstring(source) == ["bad.py: does not open with a docstring"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM messages",
        "select id\n  from messages",
        "SELECT now()",
        "INSERT INTO messages (id) VALUES (1)",
        "UPDATE messages SET state = 'sent'",
        "\n    DELETE FROM messages",
        "WITH due AS (SELECT 1) SELECT * FROM due",
        "CREATE TABLE x ()",
        "LISTEN hints",
        "COMMIT",
    ],
)
def test_sql_in_python(tree: Tree, statement: str) -> None:
    assert len(checks.sql_in_python(tree({"api/room.py": f"run({statement!r})\nrun(f{statement + ' {x}'!r})"}))) >= 1


@pytest.mark.parametrize(
    "text", ["select one of these", "Update the session", "with care", "deleted", "create a link", "commit to it"]
)
def test_plain_sentences_and_docstrings_are_no_sql(tree: Tree, text: str) -> None:
    assert (
        checks.sql_in_python(tree({"api/room.py": f'"""SELECT a FROM b is written in a .sql file."""\nshow({text!r})'}))
        == []
    )


def test_log_events_are_found_and_unclear_ones_named(tree: Tree) -> None:
    source = tree(
        {
            "api/room.py": 'log.info("message_sent", '
            'id=1)\nself._log.error("Failed!")\nlog.warning(name)\nlog.info(f"a_{b}")\nother.info("not_ours")'
        }
    )
    assert checks.log_events(source) == {"message_sent": "api/room.py:1", "Failed!": "api/room.py:2"}
    assert checks.unclear_events(source) == [
        "api/room.py:2: 'Failed!' is not written like message_sent",
        "api/room.py:3: the event is not a literal",
        "api/room.py:4: the event is not a literal",
    ]


def test_undocumented() -> None:
    document = "| event | level |\n|---|---|\n| `known` | info |\n| `gone` | info |\n| `known` | again |\n"
    assert checks.undocumented(
        "event", {"known": "a.py:1", "new": "b.py:2"}, checks.first_cells(document), "docs/x.md"
    ) == [
        "b.py:2: event new is not in docs/x.md",
        "docs/x.md: event gone is not in the code",
        "docs/x.md: event known stands there twice",
    ]
