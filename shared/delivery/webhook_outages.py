"""Tracks when webhooks could not have been received, so that their absence counts as evidence only while we were
listening.

A process that polls its in-doubt rows twice a second thereby proves that it ran and that PostgreSQL answered, so that
webhooks could be accepted and kept. A longer time without such a poll, by any process of the kind, is an outage; so is
the time for which a POST waited that was refused or answered late, and the death of a process, which may have had a
POST in hand. The provider repeats what it could not deliver at its own pace. One that doubles its waits repeats it at
the latest after as long again as the outage lasted; only absence beyond that counts.

One small file per kind and home, shared by its processes and kept over restarts: its first line names the boot, its
modification time is the last poll, the other lines are the outages (begin and end, seconds since 1970, and whether it
was a death). The file is never fsynced, so one of another boot may lack the last outages; it counts as missing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from shared.logs import logger
from shared.process import runtime
from shared.process.slot_lock import boot_id
from shared.settings import Settings
from shared.store.messages import Doubt
from shared.store.webhook_evidence import Elsewhere, SharedOutage

log = logger(__name__)

OUTAGE_S: Final = 3.0
"""Seconds between two polls from which the time between them is an outage: six missed polls, so that a busy machine is
none."""
_MAX_KEPT: Final = 200
"""Outages kept when the file is rewritten. Only those after a row's claim matter, so the last ones are enough."""
_MAX_BYTES: Final = 65_536
"""Size from which the file is rewritten: about 1,700 outages. Each poll of the rows in doubt reads it."""


def path_of(run_dir: Path, kind: str) -> Path:
    """Return the file of a kind's outages; only kinds that receive webhooks have one."""
    return run_dir / f"{kind}.webhook-outages"


def of_kind(settings: Settings, kind: str) -> WebhookOutages:
    """Return the outages of a kind in this home."""
    return WebhookOutages(path_of(runtime.run_dir(settings.bulkhead_home), kind), settings.webhook_repeat_s)


_LONGEST_SHARED_S: Final = 86_400.0
"""Seconds before which an outage's beginning is no matter to another host: no doubt is that old and undecided."""
_NOWHERE: Final = Elsewhere(outages=(), uncovered_s=0.0)


class Outage(NamedTuple):
    """A time in which webhooks could not be received, in seconds since 1970.

    Attributes:
        is_death: of a process, which may have had a POST in hand.
    """

    began_at: float
    ended_at: float
    is_death: bool = False


class WebhookOutages:
    """The outages of one kind in one home.

    Args:
        path: the file that its processes share. repeat_s: within which a provider repeats a POST whose connection
            broke. clock: seconds since 1970.
    """

    def __init__(self, path: Path, repeat_s: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self._path, self._repeat_s, self._clock, self._boot = path, repeat_s, clock, boot_id()
        self._pending: list[Outage] = []
        """Not written yet: the disk is full. Until they are written, the last poll is not moved on."""
        self._is_failing = False
        self._unshared: list[Outage] = []
        """Recorded by this process, and not shared with the other hosts yet."""

    def unshared(self) -> list[SharedOutage]:
        """Return what is not shared with the other hosts yet; call `shared` when it is."""
        now = self._clock()
        # an outage without a beginning is one of this home only: the others knew this host as dead or not at all
        return [
            SharedOutage(
                began_ago_s=now - max(one.began_at, now - _LONGEST_SHARED_S),
                ended_ago_s=max(0.0, now - one.ended_at),
                is_death=one.is_death,
            )
            for one in self._unshared
        ]

    def shared(self, count: int) -> None:
        """Record that the first `count` of `unshared` are shared."""
        del self._unshared[:count]

    def record_alive(self) -> None:
        """Record a successful poll. The first one of a boot ends an outage without a beginning."""
        now = self._clock()
        polled_at = self._polled_at()
        if polled_at is None or now - polled_at > OUTAGE_S:
            began_at = polled_at or 0.0
            # while the disk is full the same outage only grows
            self._pending = [one for one in self._pending if one.began_at != began_at]
            self._pending.append(Outage(began_at, now))
            self._unshared = [one for one in self._unshared if one.began_at != began_at] + [Outage(began_at, now)]
        if self._write_pending():
            os.utime(self._path, (now, now))

    def record_outage(self, for_s: float) -> None:
        """Record a webhook POST that waited `for_s` or was refused. Counts as an outage: the provider may repeat it
        late."""
        now = self._clock()
        self._record(Outage(now - for_s, now))

    def record_death(self) -> None:
        """Record the death of a process of the kind. It may have had a POST in hand, which the provider repeats within
        `repeat_s`."""
        now = self._clock()
        self._record(Outage(now, now, is_death=True))

    def _record(self, outage: Outage) -> None:
        polled_at = self._polled_at()
        if polled_at is None:
            return  # the first poll of a boot ends an outage that this one is part of
        self._pending.append(outage)
        self._unshared = [*self._unshared, outage][-_MAX_KEPT:]
        if self._write_pending():
            # writing moved the modification time, which stands for the last poll: put it back, or the outage would look
            # like a poll
            os.utime(self._path, (polled_at, polled_at))

    def discount(self, doubts: Sequence[Doubt], elsewhere: Elsewhere = _NOWHERE) -> list[Doubt]:
        """Return the in-doubt rows with outages subtracted from `doubt_s`, and `claimed_at` not before the end of the
        last one.

        Args:
            elsewhere: what is known of the kind's webhooks on other hosts: they get some of them.
        """
        if not doubts:
            return []
        now = self._clock()
        # without a usable file nothing is known about the past: all of it counts as one outage
        outages = [
            *(self._read() or [Outage(0.0, now)]),
            *self._pending,
            *(Outage(now - one.began_ago_s, now - one.ended_ago_s, one.is_death) for one in elsewhere.outages),
        ]
        covered = [replace(doubt, doubt_s=max(0.0, doubt.doubt_s - elsewhere.uncovered_s)) for doubt in doubts]
        return [self._of(doubt, [one for one in outages if one.ended_at > now - doubt.age_s], now) for doubt in covered]

    def _of(self, doubt: Doubt, outages: Sequence[Outage], now: float) -> Doubt:
        """Subtract outages, all of which ended after the claim, from one doubt."""
        if not outages:
            return doubt
        claimed_at = now - doubt.age_s
        since_last_s = now - max(one.ended_at for one in outages)
        # for as long again as an outage lasted, and for a fixed time after a death, the provider may still repeat a
        # POST
        longest_s = max(
            self._repeat_s if one.is_death else one.ended_at - max(one.began_at, claimed_at) for one in outages
        )
        return replace(
            doubt,
            doubt_s=max(0.0, min(doubt.doubt_s, since_last_s) - longest_s),
            claimed_at=doubt.claimed_at + timedelta(seconds=max(0.0, doubt.age_s - since_last_s)),
        )

    def _polled_at(self) -> float | None:
        """Return when the last poll was, None when there is no file of this boot."""
        try:
            return self._path.stat().st_mtime if self._read() is not None else None
        except FileNotFoundError:
            return None

    def _read(self) -> list[Outage] | None:
        """Return the outages; None when the file is missing, damaged or of another boot."""
        try:
            boot, *lines = self._path.read_text(encoding="ascii").splitlines()
            if boot != self._boot:
                return None
            return [_parsed(line) for line in lines]
        # a damaged file counts as missing: that delays decisions, and never permits a second send
        except (FileNotFoundError, UnicodeDecodeError, ValueError):
            return None

    def _write_pending(self) -> bool:
        """Write what is pending. Returns False when that failed and has to be repeated."""
        if not self._pending and self._path.exists():
            return True
        try:
            with self._locked() as file:
                # a file of another boot, or one that has grown, is replaced; else one append is enough and cheaper
                if self._read() is None or os.fstat(file).st_size > _MAX_BYTES:
                    self._rewrite([*(self._read() or []), *self._pending][-_MAX_KEPT:])
                else:
                    self._append(file)
        except OSError as error:
            # logged once for each full disk; what is pending is written by a later poll
            if not self._is_failing:
                log.error("webhook_outage_not_written", file=self._path.name, problem=str(error))
            self._is_failing = True
            return False
        self._pending, self._is_failing = [], False
        return True

    def _append(self, file: int) -> None:
        end, lines = os.fstat(file).st_size, "".join(map(_line, self._pending)).encode()
        written = 0
        try:
            written = os.write(file, lines)
        finally:
            # a full disk may take half a line
            if written < len(lines):
                os.ftruncate(file, end)
        if written < len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rewrite(self, outages: Sequence[Outage]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            temporary.write_text(f"{self._boot}\n" + "".join(map(_line, outages)), encoding="ascii")
            # atomic: a reader sees the old file or the whole new one
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file for appending, alone: another process may be replacing it by a shorter one."""
        while True:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # protects append and replace against the kind's other processes: an append to a file replaced meanwhile
                # would be lost
                fcntl.flock(file, fcntl.LOCK_EX)
                # the file may have been replaced between open and lock: then the lock is on the old one, and the next
                # round opens the new
                if self._path.exists() and self._path.stat().st_ino == os.fstat(file).st_ino:
                    yield file
                    return
            finally:
                os.close(file)


def _line(one: Outage) -> str:
    return f"{one.began_at:.3f} {one.ended_at:.3f} {'death' if one.is_death else 'outage'}\n"


def _parsed(line: str) -> Outage:
    """Read one line. Raises `ValueError` when it is damaged."""
    began_at, ended_at, what = line.split()
    if what not in ("death", "outage"):
        raise ValueError(f"unknown outage {what!r}")
    return Outage(float(began_at), float(ended_at), is_death=what == "death")
