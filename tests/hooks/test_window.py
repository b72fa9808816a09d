"""What is written about events that finish in any order."""

from __future__ import annotations

import random

import pytest

from hooks.rows import SubscriberSettlement
from hooks.window import DeliveryWindow, WindowEntry
from shared.events.reader import Position

pytestmark = pytest.mark.fast


def settlement(number: int) -> SubscriberSettlement:
    return SubscriberSettlement(hook_id=1, version=1, attempts=[{"event_id": number}], failed=number == 3)


@pytest.mark.parametrize("seed", range(5))
def test_in_whatever_order_events_finish_each_is_written_once_and_no_position_passes_an_unfinished_one(
    seed: int,
) -> None:
    chance = random.Random(seed)
    window = DeliveryWindow(most=20)
    entries: list[WindowEntry] = []
    unfinished: list[int] = []
    written: list[int] = []
    while len(entries) < 100 or unfinished:
        if len(entries) < 100 and window.room.is_set():
            unfinished.append(len(entries))
            entries.append(WindowEntry(Position(7, len(entries))))
            window.add(entries[-1])
            assert len(entries) - len(written) <= 20
        elif unfinished:
            number = unfinished.pop(chance.randrange(len(unfinished)))
            window.finish(entries[number], settlement(number))
            assert window.finished.is_set() is (min(unfinished, default=len(entries)) > len(written))
        if chance.random() < 0.3 and (taken := window.take()) is not None:
            first = len(written)
            written += [attempt["event_id"] for attempt in taken.attempts]
            assert taken.position == Position(7, written[-1])
            assert taken.failed is (3 in written[first:])
            assert min(unfinished, default=len(entries)) == len(written)
            # until they are written they keep their places
            window.written()
    while (taken := window.take()) is not None:
        written += [attempt["event_id"] for attempt in taken.attempts]
    assert written == list(range(100))


def test_what_is_being_written_keeps_its_places() -> None:
    window = DeliveryWindow(most=1)
    entry = WindowEntry(Position(7, 1))
    window.add(entry)
    window.finish(entry, settlement(1))
    assert window.take() is not None
    assert not window.room.is_set()
    window.written()
    assert window.room.is_set()


def test_a_closed_window_lets_its_writer_end() -> None:
    window = DeliveryWindow(most=5)
    window.add(WindowEntry(Position(7, 1)))
    assert not window.finished.is_set()
    window.close()
    assert window.finished.is_set()
    assert window.take() is None
