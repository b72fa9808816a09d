"""A slot counts as free, and its rows are given back, only when nothing that could still send for it can be alive."""

from __future__ import annotations

import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from shared.process import runtime
from shared.process.slot_lock import SlotLock
from supervision.decisions.model import Event, Exited, Freed
from supervision.processes.adoption import Living
from supervision.processes.children import Children
from supervision.processes.log_files import LogFiles
from supervision.processes.trees import Trees
from tests.support.waiting import NeverHappened, eventually

SLOT, INCARNATION = "meta-0", "meta-0.a"


class Stragglers:
    """The tree of the process as the supervisor sees it; a test says which helpers still live."""

    def __init__(self) -> None:
        self.alive: set[int] = set()

    def living(self, _incarnation: str) -> set[int]:
        return self.alive

    def kill(self, _incarnation: str, *, lock: Path | None = None) -> set[int]:
        return self.alive

    def forget(self, _incarnation: str) -> None:
        assert not self.alive


class Death:
    """A process in a slot that has died, and what its supervisor says about it.

    Attributes:
        lock: the slot's lock, held as a helper holds it that inherited the descriptor.
    """

    def __init__(self, home: Path) -> None:
        (home / "logs").mkdir()
        self.said: list[Event] = []
        self.helpers = Stragglers()
        self.selector = selectors.DefaultSelector()
        self.lock = SlotLock.take(runtime.slot_lock_file(home, SLOT))
        self.children = Children(
            home=home,
            host="here",
            entries=home,
            trees=cast(Trees, self.helpers),
            logs=LogFiles(home / "logs", 1_000_000, 2),
            selector=self.selector,
            niceness=0,
            happened=self.said.append,
            found_dead=lambda slot, incarnation: pytest.fail(f"{slot} {incarnation}"),
        )
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        assert self.children.adopt(Living(SLOT, self.process.pid, INCARNATION, age_s=0.0, public_port=0))
        self.process.kill()
        self.process.wait()
        for key, _ in self.selector.select(10):
            key.data()
        assert [type(event) for event in self.said] == [Exited]
        self.children.kill(SLOT)

    def is_freed(self) -> bool:
        """Let the supervisor look, and return whether it calls the slot free."""
        self.children.poll()
        return Freed(SLOT, INCARNATION) in self.said

    def close(self) -> None:
        self.lock.close()
        self.helpers.alive = set()
        eventually(self.is_freed, 5, "the slot is free in the end")
        self.selector.close()


@pytest.fixture
def death(home: Path) -> Iterator[Death]:
    made = Death(home)
    yield made
    made.close()


def stays_taken(death: Death) -> bool:
    """Whether the slot does not count as free, however often it is looked at for a while (several of the supervisor's
    looks).
    """
    with pytest.raises(NeverHappened):
        eventually(death.is_freed, 0.3)
    return True


def test_not_while_a_helper_holds_the_lock(death: Death) -> None:
    assert stays_taken(death)
    death.lock.close()
    eventually(death.is_freed, 5, "the slot is free")


def test_not_while_a_helper_lives_that_holds_no_lock(death: Death) -> None:
    death.helpers.alive = {1}
    death.lock.close()
    assert stays_taken(death)
    death.helpers.alive = set()
    eventually(death.is_freed, 5, "the slot is free")


def test_once(death: Death) -> None:
    death.lock.close()
    eventually(death.is_freed, 5, "the slot is free")
    assert death.children.poll_at() is None
    assert death.said.count(Freed(SLOT, INCARNATION)) == 1
