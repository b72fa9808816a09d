"""What every command uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.kinds import ProcessKind
from shared.process import control_client, runtime
from shared.process.slot_lock import is_free, read_holder
from shared.settings import Settings
from supervision.decisions.restart_policy import Policy
from supervision.environment import ChildConfig, EmbeddedAddresses, complete, prepare, read_settings


def is_running(home: Path) -> bool:
    """Whether an orchestrator runs over a home. Creates nothing."""
    # `runtime` would create the directory: a command that only asks leaves no traces in a home with a misspelt path.
    if not (home / "run").is_dir():
        return False
    path = runtime.orchestrator_lock_file(home)
    holder = read_holder(path)
    # Both are needed: a held lock may be a child's inherited descriptor, and a living pid may belong to an orchestrator
    # that is exiting.
    return holder is not None and holder.is_running() and not is_free(path)


def ask_home(home: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the orchestrator over a home. Creates nothing. Raises `NoOrchestrator` and `OrchestratorRefused`."""
    if not is_running(home):
        raise control_client.NoOrchestrator(f"Nothing runs over {home}.")
    return control_client.ask_running(runtime.control_socket(home), runtime.orchestrator_lock_file(home), request)


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where and over what the program runs; tests pass other rows than the registry's.

    Attributes:
        environ: the process environment.
        rows: the registry.
        entries: directory of the entry files. program: the orchestrator's own file, from there.
        embedded: where the embedded servers will listen.
        policy: the supervisor's durations.
        use_cgroups: whether process trees may be killed by cgroup.
    """

    environ: Mapping[str, str]
    rows: Sequence[ProcessKind]
    entries: Path
    embedded: EmbeddedAddresses
    policy: Policy
    use_cgroups: bool = True
    program: str = "orchestrator.py"

    def settings(self, only: str = "") -> Settings:
        """Return the operator's settings. Raises `SettingsInvalid`."""
        return read_settings(self.environ, self.rows, only)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the orchestrator over this home. Raises `SettingsInvalid`, `NoOrchestrator` and `OrchestratorRefused`."""
        return ask_home(self.settings().bulkhead_home, request)

    def known(self) -> Settings:
        """Return the complete settings as far as the home holds them; creates nothing. Raises `SettingsInvalid`."""
        return complete(self.settings(), self.embedded)

    def child_config(self, only: str = "") -> ChildConfig:
        """Prepare the home and return the configuration of children. Raises `SettingsInvalid` and `KindUnknown`."""
        return prepare(self.settings(only), self.embedded)
