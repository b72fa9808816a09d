"""Named SQL: well formed, each used, each there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import psycopg2
import pytest

from recorder.company_export import PARTS
from shared.kinds import KINDS
from shared.store.sealed import SEALINGS
from shared.store.statements import parse, statements
from shared.store.texts import storable
from tests.store.env import StoreEnv
from tests.support import environment
from tests.support.database import query
from tests.support.waiting import patient_by

SQL = "-- one --\n-- Says one.\nSELECT 1;\n\n-- two --\n-- Says two,\n-- at length.\nSELECT 2\n-- aside\nFROM t;\n"
STORE = environment.REPOSITORY / "shared/store"


class TestParse:
    def test_statements_by_name_without_comments(self) -> None:
        assert parse(SQL) == {"one": "SELECT 1", "two": "SELECT 2\nFROM t"}
        assert parse("") == {}

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("-- one --\nSELECT 1;\n", "one has no description"),
            ("-- one --\n-- Says one.\n", "one is empty"),
            ("-- one --\n-- Says one.\n;\n", "one is empty"),
            (SQL + "-- one --\n-- Again.\nSELECT 3;\n", "one is a name used twice"),
            ("-- one --\n-- Two at once.\nSELECT 1;\nSELECT 2;\n", "one holds more than one statement"),
        ],
    )
    def test_what_is_wrong_is_said_with_file_and_name(self, text: str, complaint: str) -> None:
        with pytest.raises(ValueError, match=f"x.sql: {complaint}"):
            parse(text, "x.sql")


def names_used() -> Iterator[tuple[str, str]]:
    """Yield each statement's name that the store's code, the kinds' rooms or their rows use, with the place."""
    for row in KINDS:
        needed = [row.needed_when] if row.needed_when else []
        named = (*row.reclaims, *row.holders, *(rule.statement for rule in row.retention), *needed)
        yield from ((name, f"row of {row.name}") for name in named)
    yield from ((name, "sealings") for rule in SEALINGS for name in (rule.listing, rule.replacement))
    yield from ((name, "parts of an export") for name in PARTS.values())
    rooms = {environment.REPOSITORY / row.room for row in KINDS}
    for path in (path for folder in (STORE.parent, *sorted(rooms)) for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name: ast.expr | None = None
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("rows", "row", "one", "execute")
                # rooms have methods of these names too; what is handed to functions of the store is called transaction
                and (STORE in path.parents or getattr(node.func.value, "id", "") == "transaction")
            ):
                name = node.args[0] if node.args else None
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_execute":
                # outside of psycopg2's transactions
                name = node.args[1]
            elif (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Call)
                and getattr(node.value.func, "id", "") == "statements"
            ):
                name = node.slice
            if (
                isinstance(name, ast.Constant)
                and isinstance(name.value, str)
                and re.fullmatch(r"[a-z][a-z0-9_]*", name.value)
            ):
                yield name.value, f"{path.name}:{name.lineno}"


def test_every_name_that_is_used_is_there_and_every_statement_is_used() -> None:
    used = dict(names_used())
    assert sorted(used.keys() - statements().keys()) == []
    assert sorted(statements().keys() - used.keys()) == []


def test_the_server_understands_each(env: StoreEnv) -> None:
    """Planned, not run, so that names of tables and columns are checked also for what no other test runs."""
    wrong = []
    for name, text in sorted(statements().items()):
        sql = re.sub(r"%\(\w+\)s", "NULL", text).replace("%%", "%")
        try:
            with env.store._pool.transaction(patient_by(5)) as transaction:
                # what has no plan is no query either: it is run, in a transaction that ends here
                transaction._cursor.execute(sql if re.match("SET |BEGIN|COMMIT|ROLLBACK", sql) else f"EXPLAIN {sql}")
        except psycopg2.Error as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


DUMPS = parse((STORE / "dumps.sql").read_text(), "dumps.sql")
"""What the owner of the tables runs: the role of the processes may not."""


def test_every_statement_about_dumps_is_used() -> None:
    places = (STORE / "dumps.py", environment.REPOSITORY / "recorder/backup.py")
    texts = {
        node.value
        for path in places
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(DUMPS.keys() - texts) == []


def test_the_server_understands_each_from_the_owner(env: StoreEnv) -> None:
    wrong = []
    for name, text in sorted(DUMPS.items()):
        try:
            query(env.url, f"EXPLAIN {re.sub(r'%[(][a-z_]+[)]s', 'NULL', text)}")
        except psycopg2.Error as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


def test_what_the_database_cannot_hold_is_replaced() -> None:
    assert storable("a\0b\ud83dc\U0001f600\ude00") == "a\ufffdb\ufffdc\U0001f600\ufffd"
    assert storable("plain ä € \U0001f600") == "plain ä € \U0001f600"
