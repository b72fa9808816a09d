"""`alarms`: breaks an installation in every way that the table of alerts knows, and mends it: how long until each alert
fires and ends.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.breaking import Breaker, Broken, table
from bench.figures import Figures
from bench.installation import running
from shared.alert_rules import ALERT_RULES, RULES_BY_NAME
from tests.e2e.conversation import link
from tests.support.waiting import NeverHappened, eventually

_HOME_MB: Final = 3000
"""Of the file system that a home of its own gets, so that it can be filled: more than a trial writes."""
_LATE_S: Final = 240.0
"""Seconds beyond a rule's own times after which an alert counts as one that never comes."""
_LOOK_S: Final = 0.5
"""Seconds between two looks at the log: well below the five that the recorder takes."""
_QUIET: Final = "never"


@dataclass
class AlertLog:
    """What the recorder's log says of alerts; also while the database is away."""

    home: Path
    fired: dict[str, list[float]] = field(default_factory=dict)
    ended: dict[str, list[float]] = field(default_factory=dict)

    def read(self) -> None:
        """Read it anew."""
        self.fired, self.ended = {}, {}
        for path in sorted(self.home.glob("logs/recorder-0.*.log*")):
            for line in path.read_text(errors="replace").splitlines():
                if '"event":"alert_' in line.replace(" ", ""):
                    entry = json.loads(line)
                    found = self.fired if entry["event"] == "alert_fired" else self.ended
                    found.setdefault(entry["alert"], []).append(datetime.fromisoformat(entry["at"]).timestamp())

    def first(self, of: dict[str, list[float]], name: str, since: float) -> float | None:
        """Return the first instant after another one."""
        return min((at for at in of.get(name, ()) if at >= since), default=None)

    def have_fired(self, one: Broken) -> bool:
        """Whether all alerts of a way to break it have fired."""
        return all(self.first(self.fired, name, one.broken_at) for name in one.alerts)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--factor", type=float, default=1.0, help="ALERT_TIME_FACTOR: by which durations are shortened")
    parser.add_argument("--only", default="", help="comma-separated alerts; none: all")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.factor, given.only = 0.05, "ErrorsFrequent,BacklogLarge"


def run(given: argparse.Namespace) -> Figures:
    """Break and mend, and measure. Raises `RuntimeError` when an alert never fires or ends."""
    figures = Figures(command="alarms", parameters=vars(given))
    only = set(given.only.split(",")) if given.only else set(RULES_BY_NAME)
    with ExitStack() as cleanup:
        place = cleanup.enter_context(_file_system()) if "DiskLow" in only else None
        installation = cleanup.enter_context(
            running(
                only="",
                parent=place,
                alert_time_factor=given.factor,
                api_restart_intensity=6,
                api_restart_period_s=600,
                api_startup_s=30,
                database_pool_api_max=4,
                in_doubt_policy="hold",
                in_doubt_window_s=5,
                session_connects_per_hour=5,
            )
        )
        it = Breaker(installation, cleanup)
        broken = [one for one in table(it, with_disk=place is not None) if only.intersection(one.alerts)]
        _prepare(it, broken)
        log = AlertLog(installation.bulkhead.home)
        _together(broken, log, given.factor)
        for one in broken:
            if one.alone:
                _one(one, log, given.factor)
        _wait_for_ends(broken, log, given.factor)
        figures.values["alerts"] = {name: _measured(one, name, log) for one in broken for name in one.alerts}
    print(rows_of_table(figures.values["alerts"]), flush=True)
    missing = sorted(only.intersection(RULES_BY_NAME) - set(figures.values["alerts"]))
    figures.values["not tried"] = ", ".join(missing) or "none"
    if _QUIET in json.dumps(figures.values["alerts"]):
        raise RuntimeError(f"an alert never came or never went: {json.dumps(figures.values['alerts'], indent=1)}")
    return figures


def _prepare(it: Breaker, broken: list[Broken]) -> None:
    settings = {"enableAssistant": True, "enableHumanHandoff": True, "waitingLimitMinutes": 1}
    it.api("PATCH", "/api/v2/companies/demo", settings=settings)
    names = {name for one in broken for name in one.alerts}
    if names & {"SessionLinkLost", "SessionQuarantined"}:
        link(it.bulkhead)
    if "SlotMisconfigured" in names:
        it.bulkhead.wait_ready("ai")


def _together(broken: list[Broken], log: AlertLog, factor: float) -> None:
    """Break everything that disturbs nothing else, and mend each when its alerts have fired."""
    open_ones = []
    for one in broken:
        if not one.alone:
            _break(one)
            open_ones.append(one)

    def all_fired() -> bool:
        log.read()
        for one in list(open_ones):
            if log.have_fired(one):
                _mend(one)
                open_ones.remove(one)
            else:
                one.keeps()
        return not open_ones

    _wait(all_fired, max((_longest_s(one, factor) for one in open_ones), default=0.0))
    for one in open_ones:
        _mend(one)


def _one(one: Broken, log: AlertLog, factor: float) -> None:
    _break(one)

    def fired() -> bool:
        log.read()
        one.keeps()
        return log.have_fired(one)

    _wait(fired, _longest_s(one, factor))
    _mend(one)


def _wait(condition: Callable[[], bool], within_s: float) -> None:
    """Wait; an alert that never comes is a result, and the others are measured all the same."""
    with suppress(NeverHappened):
        eventually(condition, within_s, poll_s=_LOOK_S)


def _break(one: Broken) -> None:
    print(f"{time.strftime('%H:%M:%S')} breaks: {one.said} ({', '.join(one.alerts)})", flush=True)
    one.broken_at = time.time()
    try:
        one.breaks()
    except Exception:  # noqa: BLE001 - the others are measured all the same, and its alerts count as missing
        traceback.print_exc()


def _mend(one: Broken) -> None:
    print(f"{time.strftime('%H:%M:%S')} mends: {one.said} ({', '.join(one.alerts)})", flush=True)
    try:
        one.mends()
    except Exception:  # noqa: BLE001 - see `_break`
        traceback.print_exc()
    one.mended_at = time.time()


def _wait_for_ends(broken: list[Broken], log: AlertLog, factor: float) -> None:
    def all_ended() -> bool:
        log.read()
        return all(
            log.first(log.ended, name, one.broken_at)
            for one in broken
            for name in one.alerts
            if log.first(log.fired, name, one.broken_at)
        )

    _wait(all_ended, 600.0 + _LATE_S * max(factor, 0.5))


def _longest_s(one: Broken, factor: float) -> float:
    rules = [RULES_BY_NAME[name] for name in one.alerts]
    # what a rule compares with may itself be seconds
    bounds = [rule.above or 0.0 for rule in rules if rule.measure.metric.endswith("_seconds")]
    return max(rule.for_s * factor for rule in rules) + max(bounds, default=0.0) + _LATE_S


def _measured(one: Broken, name: str, log: AlertLog) -> dict[str, Any]:
    fired = log.first(log.fired, name, one.broken_at)
    ended = None if fired is None else log.first(log.ended, name, fired)
    return {
        "broken by": one.said,
        "fired after": _QUIET if fired is None else f"{fired - one.broken_at:.0f} s",
        "ended after": _QUIET if ended is None else f"{max(0.0, ended - one.mended_at):.0f} s",
    }


@contextmanager
def _file_system() -> Iterator[Path | None]:
    """Yield a small file system of its own; None where this user may not make one."""
    place = Path(tempfile.mkdtemp(prefix="bha-"))
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_HOME_MB}m,mode=0700", "bulkhead-alarms", str(place)],
        capture_output=True,
        check=False,
    )
    try:
        yield place if made.returncode == 0 else None
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", str(place)], check=False)
        shutil.rmtree(place, ignore_errors=True)


def rows_of_table(values: dict[str, dict[str, Any]]) -> str:
    """Return the measured alerts as a table for the documents, in the order of the rules."""
    lines = ["| alert | broken by | fired after | ended after |", "|---|---|---|---|"]
    lines += [
        f"| {rule.name} | {one['broken by']} | {one['fired after']} | {one['ended after']} |"
        for rule in ALERT_RULES
        if (one := values.get(rule.name))
    ]
    return "\n".join(lines)
