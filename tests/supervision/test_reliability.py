"""How long slots were ready, and how long recoveries took, by a fake clock."""

from __future__ import annotations

from dataclasses import replace

from shared.states import SlotState as S
from supervision.decisions.model import Slot
from supervision.reliability import Reliability


def after(*steps: tuple[float, S]) -> Reliability:
    """Return what has seen a slot go through states."""
    seen = Reliability()
    slot = Slot(kind="meta", instance=0)
    old: S | None = None
    for now, state in steps:
        slot = replace(slot, state=state)
        seen.changed(old, slot, now)
        old = state
    return seen


def test_a_loss_is_repaired_when_the_slot_is_ready_again() -> None:
    seen = after((0, S.STARTING), (2, S.READY), (12, S.KILLING), (12.5, S.STARTING), (15, S.READY))
    assert seen.recoveries()["meta"]["sum_s"] == 3.0
    assert seen.recoveries()["meta"]["counts"] == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert seen.of_slot("meta-0", 25) == {"up_s": 20.0, "down_s": 5.0}


def test_two_losses_in_a_row_are_one_repair_from_the_first_on() -> None:
    seen = after((0, S.READY), (10, S.KILLING), (10, S.BACKOFF), (20, S.STARTING), (22, S.KILLING), (40, S.STARTING),
                 (41, S.READY))  # fmt: skip
    assert seen.recoveries()["meta"]["sum_s"] == 31.0


def test_a_replacement_that_was_asked_for_is_no_loss() -> None:
    seen = after((0, S.READY), (10, S.DRAINING), (12, S.KILLING), (12, S.STARTING), (14, S.READY))
    assert seen.recoveries() == {}


def test_a_slot_that_should_not_run_is_neither_up_nor_down() -> None:
    seen = after((0, S.READY), (10, S.KILLING), (10, S.STOPPED), (1000, S.STARTING), (1001, S.READY))
    assert seen.recoveries() == {}
    assert seen.of_slot("meta-0", 1001) == {"up_s": 10.0, "down_s": 1.0}
