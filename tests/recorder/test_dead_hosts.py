"""Which lives count as dead by their heartbeats and leases."""

from __future__ import annotations

import pytest

from recorder.dead_hosts import DeadHosts
from shared.store.processes import SilentLife

pytestmark = pytest.mark.fast


class Looks:
    """Looks at a clock of our own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hosts = DeadHosts(for_s=25.0, gap_s=30.0, clock=lambda: self.now)

    def at(self, now: float, *silent: str, beat: str = "", expired: bool = True) -> list[str]:
        """Look, and return who counts as dead."""
        self.now = now
        lives = [
            SilentLife(incarnation=name, host="b", slot="meta-0", beat=beat, expired=expired, silent_s=60.0)
            for name in silent
        ]
        return [life.incarnation for life in self.hosts.judge(lives)]


def test_silence_must_last() -> None:
    looks = Looks()
    assert looks.at(0.0, "a") == []
    assert looks.at(20.0, "a", "b") == []
    assert looks.at(25.0, "a", "b") == ["a"]
    assert looks.at(30.0, "b") == [], "a was heard again"
    assert looks.at(35.0, "a", "b") == [], "a's time began anew"
    assert looks.at(45.0, "a", "b") == ["b"]


def test_after_an_outage_every_life_gets_the_time_to_write_again() -> None:
    looks = Looks()
    assert looks.at(0.0, "a") == []
    assert looks.at(600.0, "a", "b") == []
    assert looks.at(626.0, "a") == ["a"]


def test_a_silent_life_whose_lease_lasts_is_not_dead() -> None:
    looks = Looks()
    assert looks.at(0.0, "a", expired=False) == []
    assert looks.at(26.0, "a", expired=False) == []
    assert looks.at(30.0, "a") == ["a"], "the silence before the lease's end counts"


def test_a_clock_of_the_database_that_jumps_kills_none() -> None:
    """With the clock an hour ahead, every lease has run out and every life seems silent; the living go on writing."""
    looks = Looks()
    for second in range(0, 120, 10):
        assert looks.at(float(second), "a", beat=f"{second}") == []
