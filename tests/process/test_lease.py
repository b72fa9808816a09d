"""The lease of one life: how long it lasts by this machine's clocks."""

from __future__ import annotations

import pytest

from shared.process.lease import Lease

pytestmark = pytest.mark.fast


class Clocks:
    """Two clocks that the test moves."""

    def __init__(self) -> None:
        self.boot = self.wall = 1000.0

    def lease(self, for_s: float) -> Lease:
        return Lease(for_s, clock=lambda: self.boot, wall=lambda: self.wall)


def test_nothing_may_be_sent_before_the_first_renewal() -> None:
    assert not Clocks().lease(42.0).covers(0.1)


def test_it_counts_from_before_the_database_was_asked() -> None:
    clocks = Clocks()
    lease = clocks.lease(42.0)
    asked = lease.asking()
    clocks.boot += 5.0
    lease.renewed(asked)
    assert lease.left_s() == 37.0
    assert lease.covers(37.0)
    assert not lease.covers(37.5)


def test_a_machine_that_was_stopped_notices_by_either_clock() -> None:
    """A suspend shows in the time since boot, a stop by the hypervisor only when the wall clock is corrected."""
    clocks = Clocks()
    lease = clocks.lease(42.0)
    lease.renewed(lease.asking())
    clocks.wall += 3600.0
    assert lease.left_s() == 0.0
    lease.renewed(lease.asking())
    clocks.wall -= 3600.0
    assert lease.covers(42.0), "a clock that is set back prolongs nothing"
    clocks.boot += 43.0
    assert lease.left_s() == 0.0
