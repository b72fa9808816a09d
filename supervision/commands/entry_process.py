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
from typing import Any, Final, NoReturn

from shared.process.control_client import NoOrchestrator
from shared.process.exit_codes import ExitCode
from shared.settings import ChildEnvironment
from supervision.commands.command_exits import CODES_OF_ANSWERS, CommandExit, CommandRefused
from supervision.commands.context import Context, is_running
from supervision.environment import ChildConfig, child_environ

_RECORDER: Final = "recorder"
_API: Final = "api"
_REFUSED: Final = 400
"""Status from which an operation refuses."""


_NEXT_STEPS: Final[Mapping[str, str]] = {
    "company_unknown": "`bulkhead companies list` shows them.",
    "phone_index_unknown": "`bulkhead connections list --company ID` shows them.",
    "key_unknown": "`bulkhead keys list` shows them.",
    "message_unknown": "`bulkhead messages search --company ID` shows them.",
    "hook_unknown": "`bulkhead hooks list --company ID` shows them.",
    "silence_unknown": "`bulkhead alerts silences` shows them.",
    "company_suspended": "`bulkhead companies resume ID` ends that.",
    "messages_open": "Let them leave, or add --force, which fails them.",
    "database_unavailable": "Start PostgreSQL (or Bulkhead, for the embedded one) and try again.",
    "task_expired": "`bulkhead status` shows whether the process that does it runs.",
    "task_interrupted": "Look at what is now, then repeat the command.",
    "internal_error": "`bulkhead logs --level error` shows what happened.",
}
"""Code of a problem -> what an operator does next."""


class Operations:
    """The API's operations, carried out by a process of our own (`api.requests`)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what the operation answers. Raises `CommandRefused`.

        Args:
            method: of HTTP. path: with its query. body: JSON.
            headers: by lower-case name, in place of the usual ones.
        """
        status, answer = self.ask(method, path, body, headers=headers)
        decoded = json.loads(answer)
        if status < _REFUSED:
            return decoded
        # each wrong place of a body, which the detail only counts
        places = [f"{one['pointer']}: {one['reason']}" for one in decoded.get("errors", ())]
        step = _NEXT_STEPS.get(str(decoded.get("type", "")).rpartition(":")[2])
        raise CommandRefused(
            "\n".join(filter(None, (decoded.get("detail", f"the operation answers {status}"), *places, step))),
            CODES_OF_ANSWERS.get(status, CommandExit.UNWELL),
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Return status and body of the answer, whatever it is."""
        line = json.dumps({"method": method, "path": path, "body": body, "headers": headers or {}}).encode() + b"\n"
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
def operations(context: Context, *, quiet: bool = False) -> Iterator[Operations]:
    """Start a process that carries out the API's operations; it ends with the block.

    Args:
        context: whose database.
        quiet: what the process says on standard error is dropped; its exit code says enough.

    Raises:
        SettingsInvalid: the settings are wrong.
        NoOrchestrator: the database is the embedded one, and nothing runs that could have started it.
    """
    command, environ = entry_of(context, _API, "--requests")
    # A session of its own: Ctrl-C ends the command, and the process when its input ends.
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        start_new_session=True,
    )
    opened = Operations(process)
    try:
        yield opened
    finally:
        opened.close()


def become_recorder(context: Context, *words: str) -> NoReturn:
    """Replace this process by `proc_recorder.py WORDS`. Raises like `operations`."""
    command, environ = entry_of(context, _RECORDER, *words)
    # the entry file beside ours
    os.execve(command[0], command, environ)  # noqa: S606


def ask_recorder(context: Context, command: str, **given: Any) -> NoReturn:
    """Replace this process by `proc_recorder.py COMMAND`, which gets what the command line says as one JSON object.
    Raises like `operations`."""
    become_recorder(context, command, _as_json(given))


def recorder_rows(context: Context, command: str, **given: Any) -> tuple[int, list[dict[str, Any]]]:
    """Run `proc_recorder.py COMMAND`, which prints one JSON object a line, and return its exit code and the objects.
    Raises like `operations`."""
    words, environ = entry_of(context, _RECORDER, command, _as_json(given))
    done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    code = done.returncode if done.returncode >= 0 else ExitCode.CRASH
    return code, [json.loads(line) for line in done.stdout.splitlines()]


def become_program(context: Context, program: str, **given: Any) -> NoReturn:
    """Replace this process by a program beside our entry files, which gets what the command line says as one JSON
    object."""
    # found beside our entry files whatever the working directory holds
    environ = {**context.environ, "PYTHONPATH": str(context.entries)}
    # -P: the working directory is not searched, where a package of the same name may lie
    os.execve(sys.executable, [sys.executable, "-P", "-m", program, _as_json(given)], environ)  # noqa: S606


def _as_json(given: Mapping[str, Any]) -> str:
    # instants and paths as their texts
    return json.dumps(given, default=str)


def entry_of(context: Context, kind: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a kind's entry file. Raises like `operations`."""
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
