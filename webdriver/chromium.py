"""One Chromium as a contained operating-system process: started, watched by pidfd, ended with all its helpers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.clock import monotonic
from shared.errors import BulkheadError
from webdriver import processes, profile

EXECUTABLES: Final = ("chromium", "chromium-browser", "google-chrome")

FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
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
    # what a page that nobody looks at does not need, and what would slow it down because nobody looks
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-crashpad-for-testing",
    "--enable-features=NetworkServiceInProcess2",
    "--disable-notifications",
    "--disable-backgrounding-occluded-windows",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-features=SpareRendererForSitePerProcess,PreloadTopChromeWebUI,WebUIOmniboxPopup,Translate,OptimizationHints,MediaRouter,CalculateNativeWinOcclusion",
)
"""The same for every session; docs/browser-memory.md says what they cost and save."""

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_PORT_FILE: Final = "DevToolsActivePort"
_LOG: Final = "chromium.log"
_LOG_MAX: Final = 1_000_000
_POLL_S: Final = 0.02
_END_S: Final = 5.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ChromiumMissing(BulkheadError):
    """Raised when there is no Chromium to start; everything but browser sessions goes on."""


class ChromiumFailed(BulkheadError):
    """Raised when Chromium does not start, does not open its debugging port in time, or cannot be ended."""


def find(setting: str) -> Path:
    """Return Chromium's executable.

    Args:
        setting: CHROMIUM_PATH; empty: looked for on PATH.
    Raises:
        ChromiumMissing: with the sentence to show to the operator.
    """
    for name in (setting,) if setting else EXECUTABLES:
        if found := shutil.which(name):
            return Path(found)
    looked = (
        f"CHROMIUM_PATH={setting} is not an executable file"
        if setting
        else f"none of {', '.join(EXECUTABLES)} is on PATH"
    )
    raise ChromiumMissing(f"{looked}; install Chromium (Debian: apt-get install chromium) or set CHROMIUM_PATH")


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How to start one Chromium.

    Attributes:
        marker: argument of `processes.mark`. keep_open: descriptors that it inherits (the slot's lock). flags: others than `FLAGS`
            only where flags are measured.
    """

    executable: Path
    profile: Path
    marker: str
    keep_open: Sequence[int] = ()
    flags: Sequence[str] = FLAGS

    def command(self) -> list[str]:
        """Return the command line, launcher first."""
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        chromium = [
            str(self.executable),
            *self.flags,
            *sandbox,
            f"--user-data-dir={self.profile}",
            self.marker,
            "about:blank",
        ]
        return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *chromium]


class Chromium:
    """A running Chromium.

    Attributes:
        pid: of its main process, which leads a process group and session of its own. endpoint: where its debugging protocol is spoken.
        gone: done when the main process has ended, with its exit code (negative: the signal).
    """

    def __init__(self, process: subprocess.Popen[bytes], launch: Launch) -> None:
        self._process, self._launch = process, launch
        self.pid = process.pid
        self.endpoint = ""
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @classmethod
    async def start(cls, launch: Launch, by: float) -> Chromium:
        """Start Chromium on its profile and wait for its debugging port, at most until the monotonic instant `by`.

        Raises:
            ProfileTaken: see `profile.claim`.
            ChromiumFailed: it ended at once or opened no port; nothing of it is left.
            OSError: the profile cannot be written or the executable not be run.
        """
        if threading.current_thread() is not threading.main_thread():
            # the death signal is bound to the thread that forks: any other may end before the process does
            raise ChromiumFailed("Chromium can be started from the main thread only")
        await asyncio.to_thread(profile.claim, launch.profile, holds_slot_lock=bool(launch.keep_open))
        port_file = launch.profile / _PORT_FILE
        port_file.unlink(missing_ok=True)
        (launch.profile / _LOG).unlink(missing_ok=True)
        with (launch.profile / _LOG).open("ab") as output:
            process = subprocess.Popen(
                launch.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # nothing of ours: settings hold secrets
                env={
                    "PATH": _PATH,
                    "HOME": str(launch.profile),
                    "LANG": "C.UTF-8",
                    "TMPDIR": str(profile.temporary(launch.profile)),
                },
                cwd=launch.profile,
                start_new_session=True,
                pass_fds=tuple(launch.keep_open),
            )
        chromium = cls(process, launch)
        try:
            chromium.endpoint = await chromium._read_endpoint(port_file, by)
        except BaseException:
            await chromium.end()
            raise
        return chromium

    async def _read_endpoint(self, port_file: Path, by: float) -> str:
        while monotonic() < by:
            if self.gone.done():
                raise ChromiumFailed(f"Chromium ended with {self.gone.result()}: {self.last_words()}")
            try:
                port, path = port_file.read_text().split()
            except (FileNotFoundError, ValueError):
                await asyncio.sleep(_POLL_S)
                continue
            return f"ws://127.0.0.1:{port}{path}"
        raise ChromiumFailed(f"Chromium opened no debugging port in time: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last error line of its log, for a message to the operator."""
        lines = [
            line
            for line in self._log().read_text(errors="replace").splitlines()
            if "ERROR:dbus" not in line and line.strip()
        ]
        return lines[-1][-300:] if lines else "it said nothing"

    def trim_log(self) -> None:
        """Cut its log when it has grown too long."""
        if self._log().stat().st_size > _LOG_MAX:
            os.truncate(self._log(), 0)

    def pids(self) -> list[int]:
        """Return its processes, helpers included."""
        return processes.pids_of_profile(self._launch.profile)

    def kill(self) -> None:
        """Kill its main process now; `gone` says when it has ended, and `end` takes the rest."""
        if not self.gone.done():
            # the pidfd, not the number: it may be somebody else's by now
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self) -> None:
        """Kill whatever is left of it and see that it is gone.

        Raises:
            ChromiumFailed: something survived SIGKILL for seconds (a process stuck in the kernel).
        """
        left = await processes.end(
            lambda: sorted({*self.pids(), *processes.pids_of_session(self.pid)}), monotonic() + _END_S
        )
        if left:
            raise ChromiumFailed(f"processes {left} survived SIGKILL")
        await asyncio.wait({self.gone}, timeout=_END_S)
        await asyncio.to_thread(profile.release, self._launch.profile)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self.gone.done():
            self.gone.set_result(self._process.wait())

    def _log(self) -> Path:
        return self._launch.profile / _LOG
