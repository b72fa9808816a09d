"""The table of mutations is up to date: each rule stands where the table says, once, and its test is there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from script.mutants import MUTATIONS, Edit, Mutation, place_of
from tests.support import environment

pytestmark = pytest.mark.fast


@cache
def _text(path: str) -> str:
    return (environment.REPOSITORY / path).read_text(encoding="utf-8")


def _wrong(mutation: Mutation) -> Iterator[str]:
    for edit in mutation.edits:
        try:
            place_of(edit, _text(edit.path))
        except ValueError as error:
            yield str(error)
        if edit.old == edit.new:
            yield f"{edit.path}: changes nothing"
    file, *names = mutation.test.split("::")
    for word in names:
        if f"def {word.partition('[')[0]}(" not in _text(file) and f"class {word}" not in _text(file):
            yield f"{file} has no {word}"


def test_each_mutation_can_be_made_and_has_a_test() -> None:
    assert [f"{name}: {wrong}" for name, mutation in MUTATIONS.items() for wrong in _wrong(mutation)] == []


def test_a_rule_that_is_not_there_or_stands_there_twice_is_refused() -> None:
    for text in ("nothing", "a rule, a rule"):
        with pytest.raises(ValueError, match="not once"):
            place_of(Edit("a.py", "a rule", ""), text)


def test_a_statement_is_found_whatever_its_line_breaks() -> None:
    assert place_of(Edit("a.sql", "a = 1 AND b = 2", ""), "WHERE a = 1\n    AND b = 2;")[0] == "a = 1\n    AND b = 2"
