"""The program keeps the house's law."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from shared.kinds import KINDS
from shared.settings import variables, visible_fields
from tests.architecture import checks, rules
from tests.architecture.source import Source
from tests.support import environment

pytestmark = pytest.mark.fast

PROGRAM = Source(environment.REPOSITORY)
TESTS = Source(environment.REPOSITORY, frozenset({"build", "dist", "var"}) | PROGRAM.folders)


def require_none(violations: list[str]) -> None:
    assert not violations, "\n" + "\n".join(violations)


def test_the_whole_program_is_read() -> None:
    assert {"orchestrator", "supervision", "embedded", "shared.settings", "proc_postgres"} <= {
        *PROGRAM.modules,
        *PROGRAM.folders,
    }
    assert "tests.architecture.test_layout" in TESTS.modules


def test_imports_point_down() -> None:
    require_none(checks.imports_pointing_up(PROGRAM, rules.LAYERS))


def test_no_room_knows_another() -> None:
    require_none(checks.rooms_that_know_each_other(PROGRAM, rules.ROOMS))


def test_there_is_no_circle_of_imports() -> None:
    require_none(checks.cycles(PROGRAM))


def test_each_package_enters_by_its_door() -> None:
    require_none(checks.side_doors(PROGRAM, {**rules.DOORS, **rules.FRAMEWORKS}))


def test_each_door_is_used() -> None:
    require_none(checks.doors_without_use(PROGRAM, rules.DOORS))


def test_only_settings_reads_the_environment() -> None:
    require_none(checks.readers_of_environment(PROGRAM, rules.ENVIRONMENT_READERS))


def test_names_say_something() -> None:
    require_none(checks.empty_names(PROGRAM, rules.FORBIDDEN_NAMES) + checks.empty_names(TESTS, rules.FORBIDDEN_NAMES))


def test_a_class_name_has_one_meaning() -> None:
    require_none(checks.repeated_class_names(PROGRAM, rules.ONE_MEANING))


def test_files_are_small() -> None:
    require_none(checks.long_files(PROGRAM, rules.LONGEST_FILE, rules.LONG_FILES, rules.REGISTRIES))
    require_none(checks.long_files(TESTS, rules.LONGEST_FILE, rules.LONG_TESTS))


def test_modules_open_with_a_sentence() -> None:
    require_none(checks.modules_without_docstring(PROGRAM) + checks.modules_without_docstring(TESTS))


def test_sql_has_its_own_home() -> None:
    require_none(checks.sql_in_python(PROGRAM))


def test_log_events_are_literal_words() -> None:
    require_none(checks.unclear_events(PROGRAM))


def test_every_kind_has_its_entry_file() -> None:
    missing = [kind.entry for kind in KINDS if kind.entry.removesuffix(".py") not in PROGRAM.modules]
    assert not missing


@pytest.mark.parametrize("entry", sorted(rules.NEVER_LOADED_BY))
def test_an_entry_loads_no_other_room_and_no_foreign_library(entry: str) -> None:
    """The first proof of isolation: an import error in another kind's library cannot reach this kind."""
    # one that is kept out has an entry without a module
    listed = "sorted(name for name, module in sys.modules.items() if module)"
    program = f"import json, sys, {entry}; print(json.dumps({listed}))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    own = {name for name in rules.LAYERS[entry] if name in rules.ROOMS}
    assert not loaded & (set(rules.ROOMS) - own), "another room was loaded"
    assert not loaded & {*rules.NEVER_LOADED_BY[entry], *rules.OF_ONE_KIND}, (
        "a library was loaded that this kind must not depend on"
    )


def test_every_entry_has_a_rule() -> None:
    entries = {name for name in PROGRAM.modules if name.startswith("proc_") or name == "orchestrator"}
    assert entries == set(rules.NEVER_LOADED_BY)


def test_each_room_reads_only_settings_that_its_kinds_may_see() -> None:
    fields = {name.lower() for name in variables(())}
    for room in sorted({row.room for row in KINDS}):
        visible = frozenset[str]().union(*(visible_fields(row) for row in KINDS if row.room == room))
        read = {
            f"{module.name}:{node.lineno}: {node.attr}"
            for module in PROGRAM.modules.values()
            if module.name.split(".")[0] == room
            for node in module.nodes
            if isinstance(node, ast.Attribute)
            and node.attr in fields - visible
            and isinstance(node.value, ast.Name | ast.Attribute)
            and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr).strip("_") == "settings"
        }
        assert not read, f"{room} reads settings that no row of its kinds lists"
