"""Fail points: named places between two steps whose order matters, where a chaos run can make a process die.

`hit("claim.committed")` costs one look-up in an empty mapping unless the process is armed. `run_child` arms it once,
from the setting CRASH_POINTS:

    meta:claim.committed=kill@0.02, api:accept.committed=kill@3, *:settle.committed=stop@1

that is `KIND:POINT=ACTION@WHEN`, separated by commas. A kind of `*` means every kind of child but not `orchestrator`,
which must be named because nothing here restarts it. `kill/SLOT` kills another slot's process tree instead:
`api:accept.committed=kill/redis-0@3`. WHEN with a decimal point is the probability of each visit; without one it is the
number of the visit in this process's life, and such a point fires once per home. Every firing is first appended to
`BULKHEAD_HOME/run/crash-points.log`. Settings refuse CRASH_POINTS unless CHAOS=on.

This file imports only the standard library and `shared.errors`.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from shared.errors import SettingsInvalid

FAIL_POINTS: Final[Mapping[str, str]] = {
    "accept.gathered": "messages of one commit are gathered; nothing is written",
    "accept.committed": "their rows are committed; no hint and no response was sent",
    "accept.hinted": "their hints stand in Redis; the hinter has nothing more to do",
    "accept.answering": "the row is committed and its hint is on its way; the client has no answer",
    "claim.begun": "the dispatcher is about to claim rows",
    "claim.committed": "rows are claimed; the in-flight journal does not know them",
    "claim.recorded": "claimed rows stand in the in-flight journal; no send has begun",
    "send.writing": "the in-flight journal says that the provider may have it; the request is not written",
    "send.answered": "the channel knows the outcome of a send; the in-flight journal does not",
    "send.recorded": "the in-flight journal knows the outcome of a send; the database does not",
    "settle.begun": "outcomes are gathered; nothing is written",
    "settle.committed": "outcomes are committed; the in-flight journal still holds their rows",
    "relay.found": "the relay has found rows without a hint; no process was notified",
    "reconcile.found": "the channel has found the outcome of a message in doubt; nothing is written",
    "reconcile.resolved": "a message has left doubt; no process was notified that it may be sent again",
    "reclaim.written": "a dead incarnation's rows are given back, uncommitted",
    "leftovers.reclaimed": "the next life has given its predecessor's rows back; the in-flight journal still exists",
    "journal.followed": "the recorder has committed a batch of events; in-flight journals and its position are as "
    "before",
    "journal.forgotten": "the in-flight journals of that batch are removed; the position is as before",
    "journal.gathered": "webhooks of one commit are gathered; nothing is written",
    "journal.committed": "webhooks are committed; the provider has no answer",
    "processor.written": "what a batch of webhooks says is written, uncommitted",
    "processor.committed": "what a batch of webhooks says is committed",
    "media.taken": "files of messages are taken; nothing is fetched",
    "media.fetched": "a file of a message is in storage; no row knows it",
    "media.noted": "the row of a fetched file is committed; no process was notified",
    "hook.leased": "subscribers are leased; none of them is served",
    "hook.posting": "an event is signed for a subscriber; nothing was posted",
    "hook.answered": "a subscriber has answered; nothing of it is written",
    "hook.settling": "events are delivered or failed; neither log, failures nor position are written",
    "hook.settled": "log, failures and position are committed; the process has not gone on",
    "index.leased": "documents are leased; nothing is read",
    "index.read": "a document is read and cut; nothing is written",
    "index.written": "passages of a new index are committed; their vectors are not",
    "index.switched": "a new index is searched; the former one is still there",
    "turn.claimed": "turns are claimed; nothing is done for them",
    "turn.asking": "a model's call is written with its money; the model was not asked",
    "turn.asked": "a model has answered; nothing of it is written",
    "turn.answer_kept": "a model's answer and what it cost are committed; nothing was done with it",
    "tool.written": "the effect of a tool and its result are written, uncommitted",
    "tool.calling": "the call of a company's function is written; it was not called",
    "tool.called": "a company's function has answered; nothing of it is written",
    "tool.done": "a tool's result is committed; the model does not know it",
    "turn.concluding": "an answer is accepted and its turn ended, uncommitted",
    "turn.concluded": "an answer and the end of its turn are committed; no hint was sent",
    "deletion.removed": "the connections of a company that is being deleted are removed; nothing else is",
    "deletion.rows": "a batch of a company's rows is deleted; how far it is was not noted",
    "deletion.files": "a batch of a company's files is deleted; how far it is was not noted",
    "deletion.gone": "a company's own row is deleted; its task has not ended",
    "import.taken": "contacts of a file and how far their import is are written, uncommitted",
    "import.noted": "contacts of a file and how far their import is are committed",
    "spawn.begun": "a slot's lock is taken and names a new incarnation; no process is started",
    "spawn.started": "a process is started; its slot's lock does not name it",
    "death.proved": "nothing is left of a dead process's tree; no process was notified",
    "provider.taken": "the sandbox, as the provider, has written a message into its ledger; there is no answer and no "
    "webhook",
    "page.token_stored": "the message id of a browser send is stored; the page was not asked",
    "page.answered": "the page has answered; no process was notified",
}
"""Every fail point, with what is and is not done there. A test compares the names with the code."""

ORCHESTRATOR: Final = "orchestrator"
LOG_NAME: Final = "crash-points.log"


def _exit() -> None:
    # no handlers, no buffers: as close to a crash as a process can come by itself
    os._exit(1)


_ACTIONS: Final[Mapping[str, Callable[[], None]]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "exit": _exit,
}
"""Actions: SIGKILL, SIGSTOP until something kills it, exit without closing anything."""

KillSlot = Callable[[str], None]
"""Kills the process tree of a slot; an empty slot is no error."""
_SLOT: Final = re.compile(r"[a-z]+-\d+")


@dataclass(slots=True)
class FailPoint:
    """One armed fail point of this process.

    Attributes:
        action: see above. victim: the slot that `kill` kills; empty: this process.
        visit: fires at this visit, once per home; 0: by `probability`. record: file that lists what fired.
    """

    name: str
    kind: str
    action: str
    victim: str = ""
    probability: float = 0.0
    visit: int = 0
    record: Path = Path(LOG_NAME)
    visits: int = 0

    def hit(self, kill_slot: KillSlot) -> None:
        """Count a visit and fire if it is due."""
        self.visits += 1
        line = f"{self.kind}:{self.name}{self.victim and '/' + self.victim}\n"
        if self.visit:
            # once per home: without the list a process that is restarted would die at the same visit again, for ever
            if self.visits != self.visit or (self.record.exists() and line in self.record.read_text(encoding="ascii")):
                return
        elif random.random() >= self.probability:  # noqa: S311 - dice, not secrets
            return
        with self.record.open("a", encoding="ascii") as record:
            # before firing: a killed process cannot write it any more
            record.write(line)
        if self.victim:
            kill_slot(self.victim)
        else:
            _ACTIONS[self.action]()


_armed: dict[str, list[Callable[[], None]]] = {}


def hit(name: str) -> None:
    """Fire the fail points called `name` that are armed and due."""
    if name in _armed:
        for point in _armed[name]:
            point()


def parse(text: str, kind: str, record: Path) -> list[FailPoint]:
    """Return the fail points of `kind` in `text`, in its order.

    Args:
        text: see above. record: the home's list of what fired.
    Raises:
        SettingsInvalid: with a sentence for each part that cannot be parsed.
    """
    points = []
    problems = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            point = _parse(part, kind, record)
        except ValueError as problem:
            problems.append(f"CRASH_POINTS: {part!r}: {problem}")
            continue
        if point is not None:
            points.append(point)
    if problems:
        raise SettingsInvalid(problems)
    return points


def arm(text: str, kind: str, run_dir: Path, kill_slot: KillSlot) -> None:
    """Arm this process; an empty text disarms it.

    Args:
        text: setting CRASH_POINTS. kind: of this process. run_dir: folder of the list of what fired. kill_slot: kills
            another slot's process.
    Raises:
        SettingsInvalid: `text` cannot be parsed.
    """
    # a forked child, or a second call, must not keep the points of the first
    _armed.clear()
    for point in parse(text, kind, run_dir / LOG_NAME):
        _armed.setdefault(point.name, []).append(partial(point.hit, kill_slot))


def _parse(part: str, kind: str, record: Path) -> FailPoint | None:
    place, _, what = part.partition("=")
    for_kind, _, name = place.strip().partition(":")
    order, _, when = what.strip().partition("@")
    action, slash, victim = order.partition("/")
    if name not in FAIL_POINTS:
        raise ValueError("no such crash point; docs/chaos.md lists them")
    if action not in _ACTIONS or (
        slash and (action != "kill" or not (victim == ORCHESTRATOR or _SLOT.fullmatch(victim)))
    ):
        raise ValueError(f"the action is one of {', '.join(_ACTIONS)}, or kill/SLOT")
    point = FailPoint(name, kind, action, victim, record=record)
    if when.isdecimal() and int(when) > 0:
        point.visit = int(when)
    # the point decides: `1` is the first visit, `1.0` is every one
    elif "." in when and 0.0 < float(when) <= 1.0:
        point.probability = float(when)
    else:
        raise ValueError("after the @ stands a probability with a decimal point, or the number of the visit")
    # parsed although it is for another kind: a mistake is reported by every process, and not only by the one it is for
    return point if for_kind == kind or (for_kind == "*" and kind != ORCHESTRATOR) else None
