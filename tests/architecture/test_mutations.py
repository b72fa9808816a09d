"""The table of mutations is up to date: each rule stands where the table says, once, and its test is there."""

from __future__ import annotations

import pytest

from script.mutants import MUTATIONS, Edit, place_of
from tests.support import environment

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_mutation_can_be_made_and_has_a_test(name: str) -> None:
    mutation = MUTATIONS[name]
    for edit in mutation.edits:
        place_of(edit, (environment.REPOSITORY / edit.path).read_text(encoding="utf-8"))
        assert edit.old != edit.new
    file, *names = mutation.test.split("::")
    text = (environment.REPOSITORY / file).read_text(encoding="utf-8")
    assert [
        word for word in names if f"def {word.partition('[')[0]}(" not in text and f"class {word}" not in text
    ] == []


def test_a_rule_that_is_not_there_or_stands_there_twice_is_refused() -> None:
    for text in ("nothing", "a rule, a rule"):
        with pytest.raises(ValueError, match="not once"):
            place_of(Edit("a.py", "a rule", ""), text)


def test_a_statement_is_found_whatever_its_line_breaks() -> None:
    assert place_of(Edit("a.sql", "a = 1 AND b = 2", ""), "WHERE a = 1\n    AND b = 2;")[0] == "a = 1\n    AND b = 2"
