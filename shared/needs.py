"""When a kind runs: the predicates that `ProcessKind.needed` names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from shared.kinds import ProcessKind
from shared.settings import Settings


def uses_sandbox(settings: Settings) -> bool:
    """Whether the stand-ins for the providers run: SANDBOX is on, or there are no real credentials."""
    return settings.sandbox == "on" or (settings.sandbox == "auto" and not settings.meta_access_token)


@dataclass(frozen=True)
class Need:
    """One reason to run a kind.

    Attributes:
        allowed: whether the operator's settings (before addresses of embedded servers are filled in) let the kind run
            at all.
        reported: whether it also depends on rows: it runs while the recorder reports the kind as desired.
    """

    allowed: Callable[[Settings], bool]
    reported: bool = False


def _always(_: Settings) -> bool:
    return True


NEEDS: Final[Mapping[str, Need]] = {
    "always": Need(_always),
    # both depend on rows, which only the recorder reads; the orchestrator uses no database
    "connections": Need(_always, reported=True),
    "rows": Need(_always, reported=True),
    "embedded_postgres": Need(lambda settings: not settings.database_url),
    "embedded_redis": Need(lambda settings: not settings.redis_url),
    "sandbox": Need(uses_sandbox),
    "local_model": Need(lambda settings: bool(settings.own("LOCAL_MODEL_COMMAND"))),
}


def need_of(row: ProcessKind) -> Need:
    """Return why a kind runs. Raises `KeyError` with the known names when its row names no need."""
    try:
        return NEEDS[row.needed]
    except KeyError:
        raise KeyError(f"kind {row.name} is needed by {row.needed!r}; known: {', '.join(NEEDS)}") from None


def runs(row: ProcessKind, desired: Collection[str] | None) -> bool:
    """Whether a kind that the settings allow should run now.

    Args:
        desired: kinds that the recorder reported; None: it has not reported yet.
    """
    # until the recorder has reported, a kind that depends on rows is not started: an empty installation runs no browser
    return not need_of(row).reported or (desired is not None and row.name in desired)


def always_runs(row: ProcessKind) -> bool:
    """Whether a kind runs independently of settings and rows."""
    return need_of(row) is NEEDS["always"]
