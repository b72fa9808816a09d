"""Numbers of a single-process server change sides, and never have two; failing ones go back by themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.move_policy import MovedFigures, MovedNumber, ReturnLimits, Side, reason_to_return, steps
from recorder.moving import BETWEEN, Mover, OldSide
from recorder.old_server_import import PAUSED
from shared.errors import StoreUnavailable
from shared.store import migrate
from shared.store.store import Store
from tests.recorder.test_old_server_import import OLD_TABLES, run_import
from tests.store.env import open_store
from tests.support.database import query

LIMITS = ReturnLimits(failed_share=0.05, oldest_s=120.0)


def number(name: str, side: Side = Side.THERE) -> MovedNumber:
    company, _, index = name.partition("/")
    return MovedNumber(company_id=company, phone_index=int(index), connection_id=1, is_session=False, side=side)


class TestPolicy:
    def test_a_larger_share_holds_the_smaller_one(self) -> None:
        numbers = [number(f"company{company}/{index}") for company in range(20) for index in range(2)]
        shares = [{one.name for one in steps(numbers, percent)[0]} for percent in (0, 10, 50, 100)]
        assert [len(share) for share in shares] == [0, 4, 20, 40]
        assert shares[1] < shares[2] < shares[3]
        assert steps(list(reversed(numbers)), 10)[0] == steps(numbers, 10)[0]

    def test_what_was_interrupted_is_finished_in_either_direction(self) -> None:
        numbers = [number("a/0", Side.BETWEEN), number("b/0", Side.HERE)]
        assert steps(numbers, 100) == ([numbers[0]], [])
        assert set(steps(numbers, 0)[1]) == set(numbers)

    @pytest.mark.parametrize(
        ("figures", "reason"),
        [
            (MovedFigures(failed=1, ended=20, oldest_s=0), ""),
            (MovedFigures(failed=2, ended=20, oldest_s=0), "2 of 20 messages failed, more than 5%"),
            (MovedFigures(failed=19, ended=19, oldest_s=0), ""),
            (
                MovedFigures(failed=9, ended=9, oldest_s=1, paused="acme/0: breaker: 9 sends in a row failed"),
                "acme/0 is paused here: breaker: 9 sends in a row failed",
            ),
            (MovedFigures(failed=0, ended=0, oldest_s=121), "a message is due for 121 s, longer than 120 s"),
        ],
    )
    def test_when_they_go_back(self, figures: MovedFigures, reason: str) -> None:
        assert reason_to_return(figures, LIMITS) == reason


class Moving:
    """A server's database with imported numbers, and what each side says of them."""

    def __init__(self, url: str) -> None:
        self.url, self.said = url, list[str]()
        self.store: Store = open_store(url)
        self.old = OldSide(url, on="active", off="inactive", columns={}, tables={})
        self.mover = Mover(self.store, self.old, say=self.said.append, stopping=threading.Event())

    def move(self, percent: float) -> None:
        come, go = steps(self.mover.numbers(frozenset()), percent)
        self.mover.give_back(go)
        self.mover.take(come)

    def sides(self) -> dict[str, tuple[bool, bool]]:
        """Return by number whether it is served there, and here."""
        rows = query(
            self.url,
            """SELECT o.company_id || '/' || o.phone_index AS name, o.status = 'active' AS there,
                      n.status = 'active' AS here
               FROM public.phone_configs o JOIN bulkhead_tables.phone_configs n
                    ON n.company_id = o.company_id AND n.phone_index = o.phone_index ORDER BY 1""",
        )
        return {row["name"]: (row["there"], row["here"]) for row in rows}


@pytest.fixture
def moving(empty_database_url: str, home: Path) -> Iterator[Moving]:
    """Three numbers that the server serves, and one that it has switched off."""
    query(empty_database_url, OLD_TABLES.read_text(encoding="utf-8"))
    migrate.apply(empty_database_url)
    run_import(empty_database_url, home, "--what", "numbers")
    made = Moving(empty_database_url)
    yield made
    made.store.close()


THERE, HERE = (True, False), (False, True)


def test_there_and_back_again(moving: Moving) -> None:
    off = {"acme/2": (False, False)}
    start = {"acme/0": THERE, "acme/1": THERE, "globex/0": THERE}
    assert moving.sides() == start | off
    moving.move(100)
    assert moving.sides() == dict.fromkeys(start, HERE) | off
    sessions = "SELECT desired_state FROM bulkhead_tables.phone_configs WHERE connection_type = 'wwebjs'"
    assert query(moving.url, sessions) == [{"desired_state": "linked"}]
    moving.move(34)
    assert sorted(moving.sides().values()) == sorted([(False, False), HERE, HERE, THERE])
    moving.move(0)
    assert moving.sides() == start | off
    assert query(moving.url, sessions) == [{"desired_state": "paused"}]


def test_a_move_that_is_interrupted_leaves_neither_and_is_finished(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(moving.old, "let_go", fails)
        with pytest.raises(StoreUnavailable):
            moving.move(100)
    reasons = {
        row["status_reason"] for row in query(moving.url, "SELECT status_reason FROM bulkhead_tables.phone_configs")
    }
    assert reasons == {PAUSED, BETWEEN}
    assert not [side for side in moving.sides().values() if side == (True, True)]
    moving.move(100)
    assert list(moving.sides().values()).count(HERE) == 3

    with monkeypatch.context() as broken:
        broken.setattr(moving.old, "take", fails)
        with pytest.raises(StoreUnavailable):
            moving.move(0)
    moving.move(0)
    assert list(moving.sides().values()).count(THERE) == 3


QUEUED = """SET search_path TO bulkhead_tables;
    INSERT INTO messages (company_id, connection_id, process_name, chat_id, type, content, state)
    SELECT 'acme', id, 'meta', '15550100200', 'text', '{}', 'queued' FROM phone_configs
    WHERE company_id = 'acme' AND phone_index = 0"""
SENT = "UPDATE bulkhead_tables.messages SET state = 'sent'"


@pytest.mark.parametrize(("drain_s", "waits"), [(60.0, False), (0.0, True)])
def test_what_was_accepted_here_is_sent_before_a_number_goes_back(
    moving: Moving, monkeypatch: pytest.MonkeyPatch, drain_s: float, waits: bool
) -> None:
    moving.move(100)
    query(moving.url, QUEUED)

    def sent(_: float) -> bool:
        assert moving.sides()["acme/0"] == HERE, "it is served here until nothing waits"
        query(moving.url, SENT)
        return False

    monkeypatch.setattr(moving.mover._stopping, "wait", sent)
    moving.mover.give_back([one for one in moving.mover.numbers(frozenset()) if one.name == "acme/0"], drain_s=drain_s)
    assert moving.sides()["acme/0"] == THERE
    said = "acme/0: messages that wait here until the number is here again: 1"
    assert (moving.said[-1] == said) is waits


def test_numbers_whose_messages_fail_go_back_by_themselves(moving: Moving) -> None:
    moving.move(100)
    assert moving.mover.watch(frozenset(), LIMITS, for_s=0.01) == 0

    def fail_some() -> None:
        query(
            moving.url,
            """SET search_path TO bulkhead_tables;
               INSERT INTO messages (company_id, connection_id, process_name, chat_id, type, content, state)
               SELECT 'acme', id, 'meta', '15550100200', 'text', '{}', 'failed'
               FROM phone_configs, generate_series(1, 25)
               WHERE company_id = 'acme' AND phone_index = 0""",
        )

    looks = iter([None, fail_some])
    seen = moving.mover._stopping.wait

    def wait(seconds: float) -> bool:
        if (act := next(looks, None)) is not None:
            act()
        return seen(0.0 if seconds > 1 else seconds)

    moving.mover._stopping.wait = wait  # type: ignore[assignment, method-assign]
    # a second watch, as after a first one that was interrupted
    assert moving.mover.watch(frozenset(), LIMITS, for_s=60) == 1
    assert moving.said[-4] == "given back: 25 of 25 messages failed, more than 5%"
    assert list(moving.sides().values()).count(THERE) == 3
