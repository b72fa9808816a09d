"""THE registry of process kinds: one row per kind, data only.

A new kind is its `proc_x.py`, its room, and one row here. The supervisor reads how to run it, the store reads which connection
types it serves, and nobody needs to be told anything else. Field names follow OTP's child specification where it has a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Need = Literal["always", "connections", "embedded_postgres", "embedded_redis", "sandbox"]


@dataclass(frozen=True, kw_only=True)
class ProcessKind:
    """How one kind of process is run.

    Durations are seconds. `instances` and `pool_size` name settings, so that operators can change them; `port` names the setting of
    the kind's public port, whose listening socket the orchestrator holds and hands down to every instance.
    """

    name: str
    entry: str
    """Script beside `orchestrator.py`."""
    needed: Need = "always"
    """When the kind runs: always, while a connection of one of its types exists, or while an embedded server or the sandbox is wanted."""
    after: tuple[str, ...] = ()
    """Kinds that are given the time to become ready before this one is started. Never a reason to stop: isolation goes first."""
    job: str = ""
    """Dotted name of the RQ job function that looks at one row; empty for kinds that send nothing."""
    instances: str = ""
    """Setting that says how many slots the kind has; empty means one."""
    port: str = ""
    """Setting of the public port; empty for kinds without one."""
    pool_size: str = ""
    """Setting of the connection pool's limit; empty for kinds without a database."""
    reads_journal: bool = False
    """Whether the kind is notified when the orchestrator has appended to its journal."""
    restart_base_s: float = 1.0
    """Delay before the second restart in a row; the first has the delay `first_restart_s`. Doubles from there, with full jitter, up to the cap."""
    first_restart_s: float = 0.0
    intensity: int = 10
    """More than this many restarts in `period_s` mean quarantine."""
    period_s: float = 60.0
    min_uptime_s: float = 10.0
    """A life shorter than this counts in full; one that is longer lets the backoff decay."""
    startup_s: float = 30.0
    """Time for becoming ready the first time."""
    watchdog_s: float = 3.0
    """Longest silence of the work loop outside a declared blocking section."""
    drain_s: float = 20.0
    """Time for finishing what is in hand after SIGTERM."""
    memory_soft_mb: int = 0
    """Resident size of the process tree above which the slot is drained and replaced; 0: no limit."""
    memory_hard_mb: int = 0
    nice: int = 0
    oom_score_adj: int = 0


KINDS: Final[tuple[ProcessKind, ...]] = (
    ProcessKind(
        name="api",
        entry="proc_api.py",
        after=("postgres", "redis", "recorder"),
        instances="api_instances",
        port="api_port",
        pool_size="database_pool_api_max",
        restart_base_s=0.2,
        intensity=20,
        memory_soft_mb=1600,
        memory_hard_mb=2048,
    ),
    ProcessKind(
        name="webdriver",
        entry="proc_webdriver.py",
        needed="connections",
        after=("postgres", "redis", "recorder", "sandbox"),
        job="webdriver.job.deliver",
        instances="webdriver_instances",
        port="webdriver_port",
        pool_size="database_pool_webdriver_max",
        first_restart_s=1.0,
        restart_base_s=5.0,
        intensity=10,
        period_s=300.0,
        startup_s=60.0,
        drain_s=30.0,
        memory_soft_mb=3400,
        memory_hard_mb=4096,
        nice=5,
        oom_score_adj=300,
    ),
    ProcessKind(
        name="meta",
        entry="proc_meta.py",
        needed="connections",
        after=("postgres", "redis", "recorder", "sandbox"),
        job="meta.job.deliver",
        instances="meta_instances",
        port="meta_port",
        pool_size="database_pool_meta_max",
        restart_base_s=1.0,
        intensity=20,
        memory_soft_mb=800,
        memory_hard_mb=1024,
    ),
    ProcessKind(
        name="recorder",
        entry="proc_recorder.py",
        after=("postgres",),
        pool_size="database_pool_recorder_max",
        reads_journal=True,
        restart_base_s=0.5,
        memory_soft_mb=400,
        memory_hard_mb=512,
    ),
    ProcessKind(
        name="sandbox",
        entry="proc_sandbox.py",
        needed="sandbox",
        port="sandbox_port",
        restart_base_s=0.2,
        intensity=20,
        memory_hard_mb=1024,
    ),
    ProcessKind(
        name="postgres",
        entry="proc_postgres.py",
        needed="embedded_postgres",
        restart_base_s=0.2,
        startup_s=60.0,
        drain_s=30.0,
        oom_score_adj=-500,
    ),
    ProcessKind(
        name="redis",
        entry="proc_redis.py",
        needed="embedded_redis",
        restart_base_s=0.2,
        oom_score_adj=-300,
    ),
)

ADMIN_PORT_STRIDE: Final = 10
"""Admin ports reserved for each row of `KINDS`, so that a slot's port does not move when another kind is scaled."""

_BY_NAME: Final = {kind.name: kind for kind in KINDS}


def kind_named(name: str) -> ProcessKind:
    """Return the row called `name`. Raises `KeyError` with the known names when there is none."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise KeyError(f"no process kind {name!r}; known: {', '.join(_BY_NAME)}") from None


def admin_port(first_port: int, kind: str, instance: int) -> int:
    """Return the loopback port of one slot's own endpoint, counted from the setting ADMIN_PORT."""
    return first_port + ADMIN_PORT_STRIDE * KINDS.index(kind_named(kind)) + instance
