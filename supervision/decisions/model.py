"""The supervisor's state (slots), its events and its actions: frozen data, no behaviour.

All instants are monotonic seconds.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

from shared.kinds import ProcessKind
from shared.process.journal import SupervisionEvent
from shared.states import SlotState
from supervision.decisions.restart_policy import Policy, RestartHistory


class Cause(Enum):
    """Why a process is on its way out."""

    NONE = "none"
    """Not requested: a crash, or a signal from elsewhere."""
    HUNG = "hung"
    MEMORY_HARD = "over its hard memory ceiling"
    MEMORY_SOFT = "over its soft memory ceiling"
    RESTART = "restart asked for"
    RELOAD = "settings changed"
    HELD = "drained by an operator"
    UNNEEDED = "not needed any more"
    SHUTDOWN = "orchestrator stops"

    @property
    def requested(self) -> bool:
        """Whether we requested the exit, whatever its code."""
        # A tree killed for the hard ceiling counts as a crash, although we caused it: it is no orderly exit.
        return self not in (Cause.NONE, Cause.HUNG, Cause.MEMORY_HARD)

    @property
    def under_restart_policy(self) -> bool:
        """Whether the restart policy decides what follows; a leak that needs replacement each minute is a sick process,
        too."""
        return not self.requested or self is Cause.MEMORY_SOFT


class Escalation(IntEnum):
    """Escalation levels of ending a process."""

    # In order of severity. A hung process gets TERM, ABORT (traceback) and KILL; one that drains
    # gets TERM and its whole time first.
    NONE = 0
    TERM = 1
    ABORT = 2
    KILL = 3


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a main process left. `code` and `signal` are None when unknown: not our child, and it left no exit record."""

    code: int | None = None
    signal: int | None = None
    last_words: str = ""

    def __str__(self) -> str:
        if self.signal is not None:
            return (
                signal.Signals(self.signal).name if self.signal in signal.valid_signals() else f"signal {self.signal}"
            )
        return f"code {self.code}" if self.code is not None else "unknown, no last words"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One numbered place of a kind, and the process in it if there is one."""

    kind: str
    instance: int
    state: SlotState = SlotState.STOPPED
    since: float = 0.0
    pid: int = 0
    incarnation: str = ""
    adopted: bool = False
    started_at: float = 0.0
    ready_at: float | None = None
    silent_by: float | None = None
    """Without a sign of life (while starting: of readiness) by then, it hangs."""
    starved_s: float = 0.0
    """Part of its silence since its last datagram that is excused because it did not get a CPU."""
    extended_by: float | None = None
    """End of a declared blocking section."""
    step_by: float | None = None
    """When the next escalation level is due."""
    next_try_at: float | None = None
    escalation: Escalation = Escalation.NONE
    cause: Cause = Cause.NONE
    main_gone: bool = False
    held: bool = False
    """Drained by an operator: stays stopped until a restart is requested."""
    last_exit: Exit | None = None
    history: RestartHistory = field(default_factory=RestartHistory)
    restarts: int = 0
    """Unasked restarts of this slot since the orchestrator runs."""
    status: str = ""
    doing: str = ""
    rss_mb: float = 0.0

    @property
    def name(self) -> str:
        """Name of the slot, for example `meta-0`."""
        return f"{self.kind}-{self.instance}"

    @property
    def is_alive(self) -> bool:
        """Whether a process is there, or may still be."""
        return self.state in ALIVE


# Derived sets, so that decisions name a meaning and not a list of states. KILLING counts as alive until the slot is
# proved free.
ALIVE = frozenset({SlotState.STARTING, SlotState.READY, SlotState.UNREADY, SlotState.DRAINING, SlotState.KILLING})
SERVING = frozenset({SlotState.STARTING, SlotState.READY, SlotState.UNREADY})
WAITING = frozenset({SlotState.BACKOFF, SlotState.QUARANTINED, SlotState.MISCONFIGURED})


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """A slot that waits for its turn to be drained and started anew: one at a time for each kind, so that the kind
    stays ready."""

    slot: str
    cause: Cause
    begun: bool = False


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything the supervisor decides on."""

    rows: tuple[ProcessKind, ...]
    policy: Policy = field(default_factory=Policy)
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many slots each kind may have."""
    configured: bool = False
    slots: Mapping[str, Slot] = field(default_factory=dict)
    desired: frozenset[str] | None = None
    """Kinds that some row needs; None: the recorder has not reported yet."""
    released: Mapping[str, float] = field(default_factory=dict)
    """When each kind was started for the first time."""
    replacements: tuple[Replacement, ...] = ()
    stopping: bool = False
    left: bool = False


# Events


@dataclass(frozen=True)
class FoundProcess:
    """A process of an earlier orchestrator holds the slot."""

    slot: str
    pid: int
    incarnation: str
    age_s: float


@dataclass(frozen=True)
class Spawned:
    """The requested process exists."""

    slot: str
    pid: int
    incarnation: str


@dataclass(frozen=True)
class SpawnFailed:
    """No process could be started. `occupied`: a process that we cannot see holds the slot, so this is no crash."""

    slot: str
    error: str
    occupied: bool = False


@dataclass(frozen=True)
class Notified:
    """A child sent a datagram."""

    slot: str
    incarnation: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Exited:
    """The main process of a slot has exited."""

    slot: str
    incarnation: str
    exit: Exit
    log_tail: str = ""


@dataclass(frozen=True)
class Freed:
    """Proof of death: the slot's lock is free and no process of the incarnation was found."""

    slot: str
    incarnation: str


@dataclass(frozen=True)
class Measured:
    """Resident memory of the slot's process tree."""

    slot: str
    rss_mb: float


@dataclass(frozen=True)
class Stalled:
    """The supervisor itself did not run for that long."""

    late_s: float
    suspended_s: float = 0.0


@dataclass(frozen=True)
class Starved:
    """A silent process waits for a CPU: its deadline is extended by so much."""

    slot: str
    for_s: float


@dataclass(frozen=True)
class RestartRequested:
    """An operator wants these slots replaced, whatever state they are in."""

    slots: tuple[str, ...]


@dataclass(frozen=True)
class DrainRequested:
    """An operator wants these slots to finish and stay stopped."""

    slots: tuple[str, ...]


@dataclass(frozen=True)
class Configured:
    """Settings (re)loaded: the rows with the operator's values, slots per kind, and kinds that run with outdated
    settings."""

    counts: Mapping[str, int]
    changed: frozenset[str] = frozenset()
    rows: tuple[ProcessKind, ...] = ()
    """Empty: as before."""


@dataclass(frozen=True)
class DesiredKindsKnown:
    """The last known set of required kinds, from disk."""

    kinds: frozenset[str]


@dataclass(frozen=True)
class StopRequested:
    """A stop of everything is requested. `now`: the second request; `at_once`: the third."""

    now: bool = False
    at_once: bool = False


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Reported = FoundProcess | Spawned | SpawnFailed | Notified | Exited | Freed | Measured | Stalled | Starved
"""Events of processes and of the machine."""
Asked = RestartRequested | DrainRequested | Configured | DesiredKindsKnown | StopRequested
"""Requests of operators and settings."""
Event = Reported | Asked | Tick

# Actions


@dataclass(frozen=True)
class Spawn:
    """Start a process in the slot; answered by `Spawned` or `SpawnFailed`."""

    slot: str


@dataclass(frozen=True)
class Send:
    """Send a signal to the slot's main process."""

    slot: str
    signal: signal.Signals


@dataclass(frozen=True)
class KillTree:
    """Kill every process of the slot's incarnation; answered by `Exited` (if it was still there) and then `Freed`.
    Repeated until then."""

    slot: str


@dataclass(frozen=True)
class Write:
    """Write an event into the journal and the log."""

    event: SupervisionEvent
    slot: str = ""
    incarnation: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SaveDesiredKinds:
    """Save the set of required kinds."""

    kinds: frozenset[str]


@dataclass(frozen=True)
class CloseListener:
    """No slot of the kind will run soon: close its port, so that clients are refused instead of waiting in its
    queue."""

    kind: str


@dataclass(frozen=True)
class Leave:
    """Everything has stopped: end the loop."""


Action = Spawn | Send | KillTree | Write | SaveDesiredKinds | CloseListener | Leave
