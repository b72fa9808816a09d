"""What commands show: folded and coloured on a terminal, records on a narrow one, plain elsewhere; and what `top` does
with keys."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from dataclasses import replace

import pytest

from shared.process.exit_codes import ExitCode
from supervision.commands import screen, terminal_view, top_model
from supervision.commands.top_model import Observed, TopChoice, TopRequest, pressed
from tests.supervision.env import PROGRAM, SupervisionEnv
from tests.support import environment
from tests.support.waiting import deadline_s, eventually

SLOTS = ["api-0", "api-1", "meta-0"]


def test_a_narrow_terminal_gets_records() -> None:
    shown = screen.records(("SLOT", "STATE", "WHY"), [("api-0", "ready", ""), ("meta-0", "backoff", "code 1")])
    assert shown == ["SLOT   api-0", "STATE  ready", "", "SLOT   meta-0", "STATE  backoff", "WHY    code 1"]


def test_a_word_has_one_colour() -> None:
    words = [word for words in terminal_view.STYLES.values() for word in words]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["r", "y"], TopRequest(command="restart", target="api-0")),
        (["down", "down", "down", "d", "y"], TopRequest(command="drain", target="meta-0")),
        (["down", "R", "y"], TopRequest(command="restart", target="api")),
        (["r", "n"], None),
        (["r", "r"], None),
        (["d", "q"], None),
        (["x", "up"], None),
    ],
)
def test_a_process_is_touched_only_after_a_yes(keys: list[str], expected: TopRequest | None) -> None:
    choice, request = TopChoice(), None
    for key in keys:
        choice, request = pressed(choice, key, SLOTS)
    assert request == expected
    assert choice.asked is None and not choice.is_over


def test_leaving_and_nothing_to_choose() -> None:
    assert pressed(TopChoice(), "q", SLOTS)[0].is_over
    assert pressed(TopChoice(), "r", []) == (TopChoice(), None)
    asked = TopChoice(asked=TopRequest(command="drain", target="api"))
    assert top_model.foot(asked) == "drain api? y/n"
    assert top_model.foot(replace(asked, asked=None, said="done")) == "done"


def test_the_first_line_says_whether_all_is_well() -> None:
    seen = Observed(status={"pid": 7, "state": "running", "slots": {}}, lives=True, missing="no database")
    assert top_model.headline(seen) == "orchestrator 7 running  ·  no database"
    health = {"status": "degraded", "troubles": [1], "troublesLeftOff": 2, "sessions": {"ready": 3}}
    assert top_model.headline(replace(seen, health=health)).endswith(
        "service degraded  ·  3 troubles  ·  sessions ready 3"
    )
    assert "adopted" in top_model.headline(replace(seen, lives=False))


@pytest.mark.parametrize("lines", [24, 30, 34, 40, 60])
@pytest.mark.parametrize("slots", [1, 5, 14, 40])
@pytest.mark.parametrize(("troubles", "queues", "events"), [(0, 0, 0), (1, 2, 8), (9, 6, 8)])
def test_a_screen_holds_what_is_shown(lines: int, slots: int, troubles: int, queues: int, events: int) -> None:
    share = top_model.shares(lines, troubles=troubles, slots=slots, queues=queues, events=events)
    drawn = 1 + 2 * share.troubles  # headline
    drawn += 2 + share.slots + (share.slots < slots)
    drawn += 2 + share.queues if share.queues else 2
    drawn += 1 + share.events + 1  # foot
    assert drawn <= lines
    assert share.slots >= min(slots, 4) and share.events >= min(events, 2)
    assert (share.troubles > 0) == (troubles > 0)
    if lines == 60 and slots < 40:
        assert (share.slots, share.queues, share.events) == (slots, queues, events), "all of it, where there is room"


@pytest.mark.parametrize(
    ("chosen", "shown", "of", "expected"),
    [(0, 4, 10, [0, 1, 2, 3]), (5, 4, 10, [3, 4, 5, 6]), (9, 4, 10, [6, 7, 8, 9]), (1, 4, 2, [0, 1]), (0, 4, 0, [])],
)
def test_the_chosen_process_is_in_sight(chosen: int, shown: int, of: int, expected: list[int]) -> None:
    assert list(top_model.window(chosen, shown, of)) == expected


class TerminalProgram:
    """The program at a terminal of a given size."""

    def __init__(self, env: SupervisionEnv, *words: str, columns: int, lines: int = 40, **variables: str) -> None:
        self.master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *words],
            # the terminal has a size, and the variables of another one would count more
            env={
                name: value
                for name, value in environment.clean(**{**env.variables, "TERM": "xterm", **variables}).items()
                if name not in ("COLUMNS", "LINES")
            },
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        self.shown = ""

    def shows(self, text: str) -> None:
        """Wait until the terminal has shown a text."""
        os.set_blocking(self.master, False)

        def is_shown() -> bool:
            # nothing new, or the program has left
            with suppress(OSError):
                self.shown += os.read(self.master, 65536).decode(errors="replace")
            return text in self.shown

        eventually(is_shown, 20, lambda: f"{text!r} in {self.shown[-2000:]!r}")

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self.master, key.encode())

    def close(self) -> int:
        """Wait until it has left and return its exit code."""
        try:
            return self.process.wait(deadline_s(20))
        finally:
            os.close(self.master)


def test_a_table_has_colours_at_a_terminal_unless_no_color_is_set(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    wide = TerminalProgram(env, "status", columns=160)
    wide.shows("ready")
    assert wide.close() == ExitCode.OK
    assert "\x1b[32mready" in wide.shown
    plain = TerminalProgram(env, "status", columns=160, NO_COLOR="1")
    plain.shows("ready")
    assert plain.close() == ExitCode.OK
    assert "\x1b[32m" not in plain.shown
    narrow = TerminalProgram(env, "status", columns=40)
    narrow.shows("STATE     ready")
    assert narrow.close() == ExitCode.OK


def test_top_restarts_what_is_chosen_after_a_question(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    before = env.pid("api-0")
    # the question is at the foot, and must be in sight on the lowest screen
    top = TerminalProgram(env, "top", columns=80, lines=24)
    top.shows("api-0")
    top.press("r")
    top.shows("restart api-0? y/n")
    top.press("n")
    top.shows("not done")
    assert env.pid("api-0") == before
    top.press("r")
    top.press("y")
    top.shows("was requested")
    env.until(lambda: env.slot("api-0").get("state") == "ready" and env.pid("api-0") != before, "another process")
    top.press("q")
    assert top.close() == ExitCode.OK
    once = env.command("top", "--once")
    assert once.returncode == ExitCode.OK and "api-0" in once.stdout
