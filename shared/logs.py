"""Structured logs: one JSON object a line, an event name and its fields, a correlation id, no text and no phone
numbers.

Lines below warning go to standard output, the others to standard error: the orchestrator keeps a file of each per slot.
Event names are a closed list, docs/log-events.md, and a test compares it with the code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, TextIO

from shared.kinds import KINDS

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""Set at the edge (HTTP request, claimed row, journal row) and written into every line below it."""

origin_fields: ContextVar[Mapping[str, str]] = ContextVar("origin_fields", default=MappingProxyType({}))
"""Which request the work is done for, as fields of log lines: `request_id` where it is not the correlation id itself,
and `trace_id`."""

PRIVATE_FIELDS: Final = frozenset(
    {
        "text",
        "body",
        "caption",
        "chat_id",
        "phone",
        "to",
        "from",
        "recipient",
        "sender",
        "wa_id",
        "token",
        "api_key",
        "authorization",
        "secret",
        "password",
    }
)
"""Field names whose value is never written, whatever passes it and however it is spelt (`chatId`, `API-Key`)."""

_CUTS: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # PostgreSQL repeats whole rows here
        (r"(?m)^DETAIL: .*$", "DETAIL: [private]"),
        # credentials in the wording of errors: headers, query parameters, addresses with a password, Meta's tokens
        # (EAA…)
        (r"(?i)(bearer\s+)[^\s\"'&,;]+", r"\1[secret]"),
        (
            r"(?i)((?:access_?token|api[-_]?key|app_?secret|password|secret|verify_token)[\"']?\s*[:=]\s*[\"']?)(?!bearer)[^\s\"'&,;}]+",
            r"\1[secret]",
        ),
        (r"(://[^/\s:@]*:)[^/\s@]+@", r"\1[secret]@"),
        (r"\bEAA[0-9A-Za-z]{16,}", "[secret]"),
        # eight digits or more, with what people write between them
        (r"(?<![0-9A-Za-z])\+?\d[\d ()/-]{6,}\d(?![0-9A-Za-z])", "[number]"),
    )
)


def scrub(free_text: str) -> str:
    """Return `free_text` (an error's wording, a traceback) without rows of the database and what looks like a phone
    number or a credential."""
    for pattern, replacement in _CUTS:
        free_text = pattern.sub(replacement, free_text)
    return free_text


def _spelling(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


_PRIVATE_SPELLINGS: Final = frozenset(map(_spelling, PRIVATE_FIELDS))


def _tellable(name: str, value: Any) -> Any:
    """Return a field's value as it may be written: nothing private, no free text as it came."""
    if _spelling(name) in _PRIVATE_SPELLINGS:
        return "[private]"
    if value is None or isinstance(value, bool | int | float):
        return value
    # names within are checked too: a private field does not become public by its depth
    if isinstance(value, Mapping):
        return {str(key): _tellable(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tellable("", item) for item in value]
    # exceptions and paths are passed as fields too, and may hold anything
    return scrub(str(value))


def fingerprint(private: str) -> str:
    """Return a short stable name for a chat or phone, so that lines about it can be found without its number."""
    # five bytes are enough to follow one chat through a log; no protection against trying every number
    return hashlib.blake2s(private.encode(), digest_size=5, person=b"bulkhead").hexdigest()


class _JsonLine(logging.Formatter):
    def __init__(self, identity: dict[str, Any]) -> None:
        super().__init__()
        self._identity = identity

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **self._identity,
            "logger": record.name,
        }
        if correlation := correlation_id.get():
            line["correlation_id"] = correlation
        line |= origin_fields.get()
        event = getattr(record, "event", None)
        # a line of a library: its text is free, so it is scrubbed
        if event is None:
            line |= {"event": "library_log", "message": scrub(_message_of(record))}
        else:
            line["event"] = event
            for name, value in record.__dict__["fields"].items():
                line[name] = _tellable(name, value)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = scrub("".join(traceback.format_exception(*record.exc_info)))
        # half a surrogate pair has no UTF-8, and a line that cannot be written would be shown raw by the logging module
        return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # a library's mistake; the logging module would print the arguments as they are
        return f"{record.msg} (its arguments do not fit)"


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | BaseException | bool | None


class EventLog:
    """Writes events of one logger: `log.info("message_sent", message_id=7)`. Texts in fields are scrubbed like errors
    are."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def _write(self, level: int, event: str, exc_info: _ExcInfo, fields: dict[str, Any]) -> None:
        # checked first: most debug lines are dropped, and no record is made for them
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=exc_info, extra={"event": event, "fields": fields})

    def debug(self, event: str, **fields: Any) -> None:
        """Write what only a developer wants."""
        self._write(logging.DEBUG, event, None, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Write what happened in the ordinary course."""
        self._write(logging.INFO, event, None, fields)

    def warning(self, event: str, *, exc_info: _ExcInfo = None, **fields: Any) -> None:
        """Write what was survived but should be looked at."""
        self._write(logging.WARNING, event, exc_info, fields)

    def error(self, event: str, *, exc_info: _ExcInfo = None, **fields: Any) -> None:
        """Write what failed."""
        self._write(logging.ERROR, event, exc_info, fields)


def logger(name: str) -> EventLog:
    """Return the event log called `name`, usually `__name__`."""
    return EventLog(name)


_PROGRAM: Final = ("__main__", "orchestrator", "supervision", "shared", "chaos")
"""Packages of ours that belong to no kind."""


class _Below(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING


class _NamedFile:
    """The file behind a stream, by the name that it had at first. Without it a process
    goes on writing to a file that was removed or replaced.
    """

    def __init__(self, stream: TextIO) -> None:
        self._fd, self._path, self._inode = -1, Path(), (0, 0)
        # A stream in memory has no descriptor.
        with suppress(OSError):
            self._fd = stream.fileno()
            path, found = Path(f"/proc/self/fd/{self._fd}").readlink(), os.fstat(self._fd)
            # Pipes, terminals and files that have no name (any more) are left as they are.
            if stat.S_ISREG(found.st_mode) and path.exists():
                self._path, self._inode = path, (found.st_dev, found.st_ino)

    def open_again_if_lost(self) -> None:
        """Point the descriptor to a file of that name; the directory is made again too, but not its parent."""
        if self._inode == (0, 0):
            return
        # One system call in the usual case: this runs before each line.
        try:
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._inode:
                return
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # The same number: what writes past the logging module (tracebacks of faulthandler, helpers that are
            # started from now on) reaches the new file as well.
            os.dup2(fresh, self._fd, inheritable=os.get_inheritable(self._fd))
            opened = os.fstat(fresh)
            self._inode = opened.st_dev, opened.st_ino
        finally:
            os.close(fresh)


class _Lines(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._file = _NamedFile(stream)

    def check_file(self) -> None:
        """Open the file again when it was removed or replaced. If that fails, the next line tries it again."""
        with self.lock or nullcontext(), suppress(OSError):
            self._file.open_again_if_lost()

    def emit(self, record: logging.LogRecord) -> None:
        self.check_file()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the name is logging's
        # A full disk, or a reader that has left: the line is lost, and nothing can be said about it where it was to be
        # said. The logging module would print a page of call stack to standard error, for each line.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def check_files() -> None:
    """Open log files again that were removed, for what is written to them without a log line (called periodically)."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Lines):
            handler.check_file()


def configure(
    *,
    level: str,
    kind: str,
    instance: int = 0,
    incarnation: str = "",
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> None:
    """Send every line of this process, libraries' included, to `out` and `err` as JSON.

    Args:
        level: least severe level for our own lines; libraries' lines are kept from warning up.
        kind, instance, incarnation: written into every line.
        out, err: streams; standard output and standard error when None.
    """
    formatter = _JsonLine({"kind": kind, "instance": instance} | ({"incarnation": incarnation} if incarnation else {}))
    below = _Lines(out or sys.stdout)
    below.addFilter(_Below())
    above = _Lines(err or sys.stderr)
    above.setLevel(logging.WARNING)
    for handler in (below, above):
        handler.setFormatter(formatter)
    # `force`: a library may have configured the root logger at import, and its handlers would print lines as they are
    logging.basicConfig(handlers=[below, above], level=logging.WARNING, force=True)
    for package in (*_PROGRAM, *(row.room for row in KINDS)):
        logging.getLogger(package).setLevel(level.upper())
    # Python's warnings would go to standard error as plain text
    logging.captureWarnings(True)
