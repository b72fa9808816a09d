"""The runner of mutations takes a rule out and puts it back, and knows which result still counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from script.mutants import MUTATIONS, Edit, Mutation
from script.mutate import BROKEN, NOTICED, MutationResult, Tree, covers, fingerprint_of, is_settled, summary

RULE = Mutation("twice is enough", (Edit("a.py", "> 2", "> 3"), Edit("a.py", "return", "yield")), "tests/test_a.py")


def test_a_rule_is_taken_out_and_put_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("if times > 2:\n    return\n")
    before = file.stat().st_mtime_ns
    with Tree(tmp_path, {}).without(RULE):
        assert file.read_text() == "if times > 3:\n    yield\n"
    assert file.read_text() == "if times > 2:\n    return\n"
    assert file.stat().st_mtime_ns == before


def test_a_rule_that_is_half_there_leaves_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("if times > 2:\n    pass\n")
    with pytest.raises(ValueError, match="stands there 0 times"), Tree(tmp_path, {}).without(RULE):
        pass
    assert file.read_text() == "if times > 2:\n    pass\n"


@pytest.mark.parametrize(
    ("test", "failed", "is_meant"),
    [
        ("tests/a.py", "tests/a.py::test_one", True),
        ("tests/a.py::TestOne", "tests/a.py::TestOne::test_two[3]", True),
        ("tests/a.py::test_one", "tests/a.py::test_one[x]", True),
        ("tests/a.py::test_one", "tests/a.py::test_one_more", False),
        ("tests/a.py", "tests/b.py::test_one", False),
    ],
)
def test_a_failure_without_a_mutation_is_of_the_rows_that_mean_it(test: str, failed: str, is_meant: bool) -> None:
    assert covers(test, failed) is is_meant


def test_a_result_counts_until_what_it_rests_on_changes() -> None:
    name, mutation = next(iter(MUTATIONS.items()))
    noticed = MutationResult(NOTICED, 3.0, fingerprint_of(mutation))
    assert is_settled(noticed, mutation)
    assert not is_settled(noticed, replace(mutation, rule="another"))
    assert not is_settled(replace(noticed, outcome=BROKEN), mutation)
    assert not is_settled(None, mutation)
    assert summary({name: noticed}) == "1 noticed"
    assert name in summary({name: replace(noticed, outcome=BROKEN)})
