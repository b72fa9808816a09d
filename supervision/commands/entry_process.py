"""The one road of commands over the database: a short-lived process of a kind's entry file, with the settings that this
kind may see. It works while no process of that kind runs, and the command line itself imports no database client.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final, NoReturn

from shared.process.control_client import NoOrchestrator
from shared.process.exit_codes import ExitCode
from shared.settings import ChildEnvironment
from supervision.commands.context import CommandExit, Context, is_running
from supervision.environment import ChildConfig, child_environ

_RECORDER: Final = "recorder"
_API: Final = "api"


class Unanswered(Exception):
    """Raised when an operation is refused or cannot be carried out; the text says why.

    Attributes:
        code: exit code of the command.
    """

    def __init__(self, reason: str, code: int = CommandExit.UNWELL) -> None:
        super().__init__(reason)
        self.code = code


class Operations:
    """The API's operations, carried out by a process of our own (`api.requests`)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what the operation answers. Raises `Unanswered`."""
        status, answer = self.ask(method, path, body)
        decoded = json.loads(answer)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise Unanswered(
                f"{decoded['detail']}\nStart PostgreSQL (or Bulkhead, for the embedded one) and try again.",
                ExitCode.BOOT,
            )
        if status >= HTTPStatus.BAD_REQUEST:
            # What the operator named does not exist or is not allowed, as an unknown kind is.
            wrong = status in (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
            raise Unanswered(
                decoded.get("detail", f"the operation answers {status}"),
                ExitCode.USAGE if wrong else CommandExit.UNWELL,
            )
        return decoded

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """Return status and body of the answer, whatever it is."""
        line = json.dumps({"method": method, "path": path, "body": body}).encode() + b"\n"
        try:
            self._pipe_in.write(line)
            self._pipe_in.flush()
            answer = self._pipe_out.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            # It has printed why: wrong settings, for example.
            sys.exit(self._process.wait() or ExitCode.CRASH)
        decoded = json.loads(answer)
        return decoded["status"], decoded["body"]

    def close(self) -> None:
        """End the process."""
        # It has left already.
        with suppress(BrokenPipeError):
            self._pipe_in.close()
        self._process.wait()
        self._pipe_out.close()

    @property
    def _pipe_in(self) -> Any:
        return self._process.stdin

    @property
    def _pipe_out(self) -> Any:
        return self._process.stdout


@contextmanager
def operations(context: Context) -> Iterator[Operations]:
    """Start a process that carries out the API's operations; it ends with the block.

    Raises:
        SettingsInvalid: the settings are wrong.
        NoOrchestrator: the database is the embedded one, and nothing runs that could have started it.
    """
    command, environ = _entry(context, _API, "--requests")
    # A session of its own: Ctrl-C ends the command, and the process when its input ends.
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    opened = Operations(process)
    try:
        yield opened
    finally:
        opened.close()


def become_recorder(context: Context, *words: str) -> NoReturn:
    """Replace this process by `proc_recorder.py WORDS`. Raises like `operations`."""
    command, environ = _entry(context, _RECORDER, *words)
    # the entry file beside ours
    os.execve(command[0], command, environ)  # noqa: S606


def _entry(context: Context, kind: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a kind's entry file."""
    operator = context.settings()
    if not operator.database_url and not is_running(operator.bulkhead_home):
        raise NoOrchestrator(
            f"Nothing runs over {operator.bulkhead_home}: the embedded PostgreSQL is not there. Start it: bulkhead"
        )
    # What the home holds already: a command makes no home, and no secrets.
    config = ChildConfig(settings=context.known(), counts={}, uses_sandbox=False)
    row = config.settings.kind(kind)
    # The incarnation names a child: rules over several settings are checked here, not there.
    identity = ChildEnvironment(process_name=kind, process_incarnation=f"{kind}.command")
    return [sys.executable, str(context.entries / row.entry), *words], child_environ(
        config, row, identity, context.environ
    )
