"""The pages about supervision say what the code says: the diagram is the table, every cell of ours names a test, every
file and word exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from shared.process.journal import SupervisionEvent
from shared.states import SLOT_TRANSITIONS, SlotState
from supervision.commands.command_exits import NEEDS
from supervision.decisions.restart_policy import Policy
from tests.support import environment

DOCS = environment.REPOSITORY / "docs"
PAGE = "".join((DOCS / name).read_text() for name in ("supervision.md", "internals/supervision.md", "cli.md"))


def diagram() -> str:
    """The state diagram, made from the table."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> stopped"]
    lines += [f"    {old} --> {new}" for old in SlotState for new in SlotState if new in SLOT_TRANSITIONS[old]]
    return "\n".join([*lines, "```"])


def test_the_diagram_is_the_table() -> None:
    between = re.search(r"<!-- made by tests/supervision: slot-states -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert between is not None and between[1].strip() == diagram(), (
        f"put this between the marks in docs/supervision.md:\n{diagram()}"
    )


def test_every_state_and_command_is_explained() -> None:
    assert [
        state for state in SlotState if f"**{state}**" not in PAGE and state not in ("stopped", "ready", "unready")
    ] == []
    assert [name for name in NEEDS if name not in PAGE] == []


def test_every_cell_of_ours_names_a_test_that_exists() -> None:
    cells = [
        line.rstrip("| ").split("|")[-1].strip()
        for line in PAGE.splitlines()
        if line.count("|") == 11 and "`test_" in line
    ]
    assert len(cells) >= 18
    for cell in cells:
        found = re.fullmatch(r"Y `(test_\w+)::(test_\w+)`", cell)
        assert found is not None, cell
        module = ast.parse(Path(__file__).with_name(f"{found[1]}.py").read_text())
        assert found[2] in [node.name for node in module.body if isinstance(node, ast.FunctionDef)], cell


def test_every_cell_of_the_others_has_a_source() -> None:
    rows = [line for line in PAGE.splitlines() if line.count("|") == 11 and "`test_" in line]
    for row in rows:
        others = [cell.strip() for cell in row.strip("|").split("|")[1:9]]
        assert [cell[-1] for cell in others] == list("¹²³⁴⁵⁶⁷⁸"), row
        assert all(cell[0] in "YP–" for cell in others), row


def test_numbers_in_the_page_are_the_codes() -> None:
    policy, page = Policy(), " ".join(PAGE.split())
    assert f"at most {policy.cap_s:g} s" in page and f"each {policy.half_life_s:g} s" in page
    assert (
        f"{policy.probe_first_s / 2:g} to {policy.probe_first_s:g} s" in page
        and f"up to {policy.probe_cap_s:g} s" in page
    )
    assert f"{policy.term_s:g} s later SIGABRT" in page and f"{policy.abort_s:g} s later SIGKILL" in page
    assert f"{policy.leave_s:g} s for closing" in page and f"a second one leaves {policy.stop_now_s:g} s" in page


def test_documents_that_are_named_exist() -> None:
    for name in re.findall(r"docs/[\w/.-]+", PAGE):
        path = environment.REPOSITORY / name.rstrip(".")
        assert path.exists() or list(path.parent.glob(f"{Path(name).name}*")), name


def test_every_event_says_what_it_means() -> None:
    source = (environment.REPOSITORY / "shared" / "process" / "journal.py").read_text()
    for event in SupervisionEvent:
        assert re.search(rf'{event.name} = "{event.value}"\n    """', source), event
