"""What the proof of a death does beside giving rows back: it is an outage of the kind's webhooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.delivery import reclaim, webhook_outages
from shared.delivery.in_flight_journal import InFlightJournal, path_of
from shared.delivery.webhook_outages import WebhookOutages
from tests.store.env import StoreEnv


def deaths(run_dir: Path) -> int:
    """How many deaths of senders of Meta are noted."""
    file = webhook_outages.path_of(run_dir, "meta")
    return file.read_text().count("death") if file.exists() else 0


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A home's directory in which processes of Meta poll."""
    WebhookOutages(webhook_outages.path_of(tmp_path, "meta")).record_alive()
    return tmp_path


def reclaimed(env: StoreEnv, run_dir: Path, incarnation: str) -> None:
    env.store.run(reclaim.reclaim, run_dir, incarnation, why="test")


def test_one_that_died_with_nothing_in_flight_may_have_had_a_webhook_in_hand(env: StoreEnv, run_dir: Path) -> None:
    InFlightJournal(path_of(run_dir, "meta-0.dead"), 1).open().close(remove=False)
    reclaimed(env, run_dir, "meta-0.dead")
    assert deaths(run_dir) == 1


def test_one_of_which_only_rows_are_left(env: StoreEnv, run_dir: Path) -> None:
    ids = env.accept("a")
    env.claim(ids, incarnation="meta-1.dead")
    reclaimed(env, run_dir, "meta-1.dead")
    assert deaths(run_dir) == 1


def test_one_that_exited_by_itself_answered_all_its_webhooks(env: StoreEnv, run_dir: Path) -> None:
    InFlightJournal(path_of(run_dir, "meta-0.over"), 1).open().close(remove=True)
    reclaimed(env, run_dir, "meta-0.over")
    assert deaths(run_dir) == 0


@pytest.mark.parametrize("incarnation", ["webdriver-0.dead", "rq.host.7.abc"])
def test_kinds_without_webhooks_note_nothing(env: StoreEnv, run_dir: Path, incarnation: str) -> None:
    InFlightJournal(path_of(run_dir, incarnation), 1).open().close(remove=False)
    reclaimed(env, run_dir, incarnation)
    assert [path.name for path in run_dir.glob("*.webhook-outages")] == ["meta.webhook-outages"]
    assert deaths(run_dir) == 0
