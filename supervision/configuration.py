"""The configuration in force: what a slot's process is started with, and what a change of settings means for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.errors import BulkheadError
from shared.kinds import ORCHESTRATOR_OFFSET, ProcessKind, admin_port
from shared.logs import logger
from shared.process import runtime
from shared.settings import ChildEnvironment, Settings, environ_for
from supervision.decisions import plan
from supervision.decisions.model import Slot
from supervision.environment import ChildConfig, changed_for, child_environ

log = logger(__name__)


@dataclass(frozen=True)
class Reloaded:
    """What a reload changed.

    Attributes:
        changed: kinds whose processes run with outdated settings. moved: kinds whose public port is another one.
    """

    changed: frozenset[str]
    moved: frozenset[str]


class Configuration:
    """Settings and registry of one home; the newest that could be read.

    Args:
        config: of the children, with the registry. inherited: the process environment; children receive a part of it.
        reload: reads the settings again; raises `BulkheadError` when they are wrong.
    """

    def __init__(self, config: ChildConfig, *, inherited: Mapping[str, str], reload: Callable[[], ChildConfig]) -> None:
        plan.check(config.settings.kinds)  # fails here and not at the first start of some kind
        self._config, self._inherited, self._reload = config, inherited, reload

    @property
    def child_config(self) -> ChildConfig:
        """What the environments of children are made from."""
        return self._config

    @property
    def settings(self) -> Settings:
        """Complete settings."""
        return self._config.settings

    @property
    def counts(self) -> Mapping[str, int]:
        """How many slots each kind may have."""
        return self._config.counts

    @property
    def rows(self) -> tuple[ProcessKind, ...]:
        """The registry."""
        return self._config.settings.kinds

    def row(self, kind: str) -> ProcessKind:
        """Return a kind's row."""
        return next(row for row in self.rows if row.name == kind)

    @property
    def admin_port(self) -> int:
        """The orchestrator's own loopback port."""
        return self.settings.admin_port + ORCHESTRATOR_OFFSET

    def ports(self, slot: Slot) -> tuple[int, int]:
        """Return the slot's admin port, and its kind's public port or 0."""
        row = self.row(slot.kind)
        return admin_port(self.settings.admin_port, row, slot.instance), row.port

    def identity(self, slot: Slot) -> ChildEnvironment:
        """Return the part of a child's environment that names it, without incarnation and lock."""
        admin, public = self.ports(slot)
        return ChildEnvironment(
            process_name=slot.kind,
            process_instance=slot.instance,
            port=public,
            process_admin_port=admin,
            notify_socket=str(runtime.notify_socket(self.settings.bulkhead_home)),
            watchdog_usec=round(self.row(slot.kind).watchdog_s * 1e6),
        )

    def environ(self, identity: ChildEnvironment) -> Mapping[str, str]:
        """Return the whole environment of a child."""
        return child_environ(self._config, self.row(identity.process_name), identity, self._inherited)

    def is_outdated(self, kind: str, environ: Mapping[str, str]) -> bool:
        """Whether a process of this kind that was started with `environ` lacks a change of settings."""
        # Else it was started by hand, with settings of its own.
        return "PROCESS_INCARNATION" in environ and kind in changed_for(self.settings, environ)

    def reload(self) -> Reloaded:
        """Read the settings again; children that start from here on get the new ones. Invalid settings leave those of
        before in force; they are logged and raised."""
        try:
            config = self._reload()
        except BulkheadError as problem:
            log.error("reload_refused", problem=str(problem))
            raise
        before, self._config = self._config.settings, config
        # what each kind was given, with the defaults of its own settings
        given = {name: value for row in before.kinds for name, value in environ_for(before, row).items()}
        changed = changed_for(config.settings, given)
        ports = {row.name: row.port for row in before.kinds}
        moved = frozenset(
            row.name
            for row in config.settings.kinds
            if (row.port, config.settings.bind_address) != (ports.get(row.name), before.bind_address)
        )
        log.info("settings_reloaded", changed=sorted(changed))
        return Reloaded(changed, moved)
