"""Which listening socket a slot's process inherits: bound here, or received from a process that an earlier orchestrator
started."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from shared.errors import BulkheadError
from shared.needs import need_of
from shared.process import runtime
from shared.process.supervised import ask_descriptors
from supervision.configuration import Configuration
from supervision.decisions.model import Slot
from supervision.ipc.listeners import Listeners
from supervision.ipc.notify_socket import NotifySocket


class PortHeldByAdopted(BulkheadError):
    """Raised while an adopted process of the kind holds the port's socket and has not sent it yet."""


class PublicPorts:
    """The listening sockets of all kinds, over the lives of several orchestrators.

    Args:
        notify: sends requests to children. serves: whether the process in a slot was started to serve a port.
    """

    def __init__(
        self, home: Path, configuration: Configuration, notify: NotifySocket, *, serves: Callable[[str, int], bool]
    ) -> None:
        self._home, self._configuration, self._notify, self._serves = home, configuration, notify, serves
        self._listeners = Listeners()

    def open_needed_now(self, adopted: Collection[str]) -> None:
        """Bind the ports of kinds that start immediately, so that a port that is taken is reported before anything
        runs.

        Args:
            adopted: kinds of which a process lives: it holds the port.
        Raises:
            PortUnusable: the text names the setting to change.
        """
        for row in self._configuration.rows:
            needed = self._configuration.counts[row.name] and not need_of(row).reported
            if row.port and needed and row.name not in adopted:
                self._listeners.open(row, self._configuration.settings)

    def descriptor_for(self, slot: Slot, slots: Iterable[Slot]) -> int:
        """Return the listening socket for a process in `slot`; -1 when its kind has no port.

        Raises:
            PortHeldByAdopted: try again once the socket was received. PortUnusable: the text names the setting to
                change.
        """
        row = self._configuration.row(slot.kind)
        if not row.port:
            return -1
        # Binding the port would fail, since the adopted process holds it: its descriptor has to arrive first.
        if not self._listeners.holds(row.name) and self._adopted_sibling_serves(slot, slots, row.port):
            raise PortHeldByAdopted("the kind's listening socket is still asked for from its other process")
        return self._listeners.open(row, self._configuration.settings).fileno()

    def ask_adopted(self, slots: Iterable[Slot]) -> None:
        """Ask adopted children for the listening sockets that the orchestrator before us handed down."""
        for slot in slots:
            # Without their sockets, a port would be refused for the time between the child's death and a new bind.
            has_port = self._configuration.row(slot.kind).port
            if has_port and slot.adopted and slot.is_alive and not self._listeners.holds(slot.kind):
                self._notify.ask(runtime.slot_socket(self._home, slot.name), ask_descriptors())

    def receive(self, slot: Slot, descriptors: Iterable[int]) -> None:
        """Keep the kind's listening socket, if the child in `slot` sent it."""
        self._listeners.take(slot.kind, self._configuration.row(slot.kind).port, descriptors)

    def close(self, kinds: Iterable[str]) -> None:
        """Close the ports of kinds; they are bound anew at the kind's next start."""
        for kind in kinds:
            self._listeners.close(kind)

    def close_all(self) -> None:
        """Close every port."""
        self._listeners.close_all()

    def _adopted_sibling_serves(self, slot: Slot, slots: Iterable[Slot], port: int) -> bool:
        siblings = (other for other in slots if other.kind == slot.kind and other.name != slot.name)
        return any(other.adopted and other.is_alive and self._serves(other.name, port) for other in siblings)
