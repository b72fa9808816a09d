"""One Chromium as a contained operating-system process: started, watched by pidfd, ended with all its helpers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.clock import left, monotonic
from shared.errors import BulkheadError
from shared.process.system_user import SystemUser, open_way
from webdriver.chromium import processes, profile
from webdriver.chromium.launcher import NO_SANDBOX, Orders
from webdriver.chromium.pipe import READS_FROM, WRITES_TO, DebuggingPipe, PipeClosed

FLAGS: Final = (
    # the full browser without a window; the pipe in place of a port: see `pipe`
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    # no keyring of a desktop, which would ask for a password
    "--password-store=basic",
    "--use-mock-keychain",
    "--mute-audio",
    "--window-size=1024,720",
    # what talks to the outside on its own
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-pings",
    "--disable-quic",
    # what a page without a viewer does not need, and what would slow it down for lack of one
    # /dev/shm of a container often has 64 MB, too little for a page; a crash handler would be a process more
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-crashpad-for-testing",
    "--enable-features=NetworkServiceInProcess2",
    # no window is visible: without these flags Chromium would slow down the page's timers, and with them the answers to
    # probes
    "--disable-notifications",
    "--disable-backgrounding-occluded-windows",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-features=SpareRendererForSitePerProcess,PreloadTopChromeWebUI,WebUIOmniboxPopup,Translate,"
    "OptimizationHints,MediaRouter,CalculateNativeWinOcclusion",
)
"""The same for every session; docs/browser-memory.md has what they cost and save."""

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_LOG: Final = "chromium.log"
_LOG_MAX: Final = 1_000_000
"""Bytes of Chromium's log; it is cut to nothing above."""
_LAST_WORDS: Final = 16_384
"""Bytes at the end of the log that are searched for the last error."""
_END_S: Final = 5.0
"""Longest wait for processes to go after SIGKILL; only one that is stuck in the kernel takes longer."""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The usual directories: nothing of our own environment is passed to Chromium."""

_unreaped: set[int] = set()
"""Main processes whose exit status was not collected yet."""


class ChromiumFailed(BulkheadError):
    """Raised when Chromium does not start, does not answer on its debugging pipe in time, or cannot be ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How to start one Chromium.

    Attributes:
        marker: argument of `processes.mark`. keep_open: descriptors that it inherits (the slot's lock). flags: others
            than `FLAGS` only where flags are measured.
    """

    executable: Path
    profile: Path
    marker: str
    keep_open: Sequence[int] = ()
    flags: Sequence[str] = FLAGS

    def command(self) -> list[str]:
        """Return Chromium's command line."""
        return [
            str(self.executable),
            *self.flags,
            f"--user-data-dir={self.profile}",
            self.marker,
            "about:blank",
        ]


def unreaped() -> frozenset[int]:
    """Return the pids of Chromiums whose exit status is collected here and nowhere else."""
    return frozenset(_unreaped)


class Chromium:
    """A running Chromium.

    Attributes:
        pid: of its main process, which leads a process group and session of its own.
        gone: done when the main process has ended, with its exit code (negative: the signal). sandboxed: whether
            Chromium contains its page.
    """

    def __init__(self, process: subprocess.Popen[bytes], launch: Launch, log_fd: int) -> None:
        self._process, self._launch, self._log_fd = process, launch, log_fd
        self.pid = process.pid
        self._pipe: DebuggingPipe | None = None
        self.sandboxed = True
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._identity = processes.identify(process.pid)
        # from here on `reap_orphans` leaves this exit status to `_reap`; `Popen.wait` would otherwise lose it
        _unreaped.add(process.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @classmethod
    async def start(cls, launch: Launch, by: float) -> Chromium:
        """Start Chromium on its profile and wait until it answers, at most until the monotonic instant `by`.

        As root it runs under the system user of `profile.browser_user`.

        Raises:
            ProfileTaken, SystemUserUnusable: see `profile.claim`.
            ChromiumFailed: it ended at once or did not answer; nothing of it is left.
            OSError: the profile cannot be written or the executable not be run.
        """
        if threading.current_thread() is not threading.main_thread():
            # the death signal is bound to the forking thread: a thread other than the main one may end before the
            # process
            raise ChromiumFailed("Chromium can be started from the main thread only")
        # creating a user or walking a profile may take seconds on a slow disk, so it must not block the loop that
        # probes other pages
        user = await asyncio.to_thread(profile.browser_user)
        if user:
            await asyncio.to_thread(open_way, launch.executable, user, launch.profile.parent.parent)
        await asyncio.to_thread(profile.claim, launch.profile, user, holds_slot_lock=bool(launch.keep_open))
        log_file = launch.profile / _LOG
        log_file.unlink(missing_ok=True)
        # made anew (O_EXCL) and kept open: the browser's user could put a link in its place
        log_fd = os.open(log_file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            chromium, ends = cls._spawn(launch, user, log_fd)
        except BaseException:
            os.close(log_fd)
            raise
        try:
            # there is no await since the fork: if this process dies later, the next life finds the record
            processes.record(chromium._identity, profile.running(launch.profile))
            chromium._pipe = pipe = await DebuggingPipe.connect(*ends)
            await chromium._answers(pipe, by)
            chromium.sandboxed = not processes.has_argument(chromium.pid, NO_SANDBOX)
        except BaseException:
            # also on cancellation: a Chromium that no object owns would hold the profile for ever
            await chromium.end()
            raise
        return chromium

    @classmethod
    def _spawn(cls, launch: Launch, user: SystemUser | None, log_fd: int) -> tuple[Chromium, tuple[int, int]]:
        """Start the launcher; return the process and our ends of its pipe (to read, to write)."""
        its_input, our_output = os.pipe()
        our_input, its_output = os.pipe()
        try:
            orders = Orders(
                owner=os.getpid(),
                command=launch.command(),
                pipe={str(READS_FROM): its_input, str(WRITES_TO): its_output},
                user=[user.uid, user.gid] if user else None,
            )
            # isolated and without site: no variable and no package of ours runs before Chromium does
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(orders)],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                # none of our variables: settings hold secrets
                env={
                    "PATH": _PATH,
                    "HOME": str(launch.profile),
                    "LANG": "C.UTF-8",
                    "TMPDIR": str(profile.temporary(launch.profile)),
                },
                cwd=launch.profile,
                # the process session is what its helpers are found by (see `processes`)
                start_new_session=True,
                # the slot's lock stays held for as long as any process of this browser lives
                pass_fds=(its_input, its_output, *launch.keep_open),
            )
        except BaseException:
            os.close(our_input)
            os.close(our_output)
            raise
        finally:
            # our copies of its ends: while they are open, we would not see an end of file when it dies
            os.close(its_input)
            os.close(its_output)
        return cls(process, launch, log_fd), (our_input, our_output)

    @property
    def pipe(self) -> DebuggingPipe:
        """Its debugging pipe; its user closes it, at the latest `end` does."""
        if self._pipe is None:
            raise ChromiumFailed("Chromium has no debugging pipe yet")
        return self._pipe

    async def _answers(self, pipe: DebuggingPipe, by: float) -> None:
        """Wait for the first answer on the pipe."""
        # 0 is an id of no call of pyppeteer's connection, which counts from 1
        pipe.send({"id": 0, "method": "Browser.getVersion"})
        try:
            await asyncio.wait_for(pipe.receive(), left(by))
        except PipeClosed:
            # its process is about to end, if it has not yet
            await asyncio.wait({self.gone}, timeout=_END_S)
        except TimeoutError:
            pass
        else:
            return
        if self.gone.done():
            raise ChromiumFailed(f"Chromium ended with {self.gone.result()}: {self.last_words()}")
        raise ChromiumFailed(f"Chromium did not answer on its debugging pipe in time: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last error line of its log, for a message to the operator."""
        size = os.fstat(self._log_fd).st_size
        text = os.pread(self._log_fd, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace")
        # Chromium logs these wherever there is no D-Bus; they are never the reason
        lines = [line for line in text.splitlines() if "ERROR:dbus" not in line and line.strip()]
        return lines[-1][-300:] if lines else "its log is empty"

    def trim_log(self) -> None:
        """Cut its log when it has grown too long."""
        if os.fstat(self._log_fd).st_size > _LOG_MAX:
            # it was opened for appending, so Chromium goes on at the new end and leaves no hole
            os.ftruncate(self._log_fd, 0)

    def pids(self) -> list[int]:
        """Return its processes, helpers included."""
        return processes.pids_of(self._identity)

    def kill(self) -> None:
        """Kill its main process now; `gone` says when it has ended, and `end` ends the rest."""
        if not self.gone.done():
            # the pidfd, not the number: it may be another process's by now
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self) -> None:
        """Kill whatever is left of it and see that it is gone.

        Raises:
            ChromiumFailed: something survived SIGKILL for seconds (a process stuck in the kernel).
        """
        if self._pipe:
            self._pipe.close()
        # the helpers before the main process is reaped: they are found by its number
        survivors = await processes.end(self.pids, monotonic() + _END_S)
        await asyncio.wait({self.gone}, timeout=_END_S)
        self._reap()
        # a browser that may still write keeps its lock: the profile is not released
        if survivors or not self.gone.done():
            raise ChromiumFailed(f"processes {survivors or [self.pid]} survived SIGKILL")
        await asyncio.to_thread(profile.release, self._launch.profile)

    def _ended(self) -> None:
        # a pidfd stays readable after the end: the loop would call this for ever
        self._loop.remove_reader(self._pidfd)
        # not collected yet: while its zombie keeps the number, no foreign process can be mistaken for one of its
        # helpers
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        if not self.gone.done():
            status = ended.si_status if ended else 0
            self.gone.set_result(status if ended is None or ended.si_code == os.CLD_EXITED else -status)

    def _reap(self) -> None:
        # the descriptor is also the mark that this was done, so that `end` may be repeated
        if self._log_fd >= 0 and self.gone.done():
            self._process.wait()
            os.close(self._pidfd)
            os.close(self._log_fd)
            self._log_fd = -1
            _unreaped.discard(self.pid)
