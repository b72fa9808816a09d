"""No Chromium outlives its owner, no profile stays locked, no foreign process is touched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from shared.chromium_path import find
from shared.clock import monotonic
from shared.states import SessionState
from tests.support import environment
from tests.support.waiting import eventually, patient_by
from tests.webdriver.env import Web, chromiums, run, session_env, strangers
from webdriver.chromium import processes, profile
from webdriver.chromium.browser import Browser, BrowserLost
from webdriver.chromium.process import Chromium, ChromiumFailed, Launch
from webdriver.chromium.profile import ProfileTaken


@contextmanager
def owner(home: Path, *connections: int) -> Iterator[subprocess.Popen[str]]:
    """Run `tests.webdriver.owner` until the end of the block."""
    command = [sys.executable, "-m", "tests.webdriver.owner", str(home), *map(str, connections)]
    process = subprocess.Popen(
        command, cwd=environment.REPOSITORY, env=environment.clean(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process.stdout as output:
        try:
            assert len(output.readline().split()) == len(connections)
            yield process
        finally:
            process.kill()
            process.wait()
            eventually(lambda: not chromiums(home), 5, lambda: str(chromiums(home)))
            for kept in profile.kept(home):
                profile.release(kept)


def launch(home: Path, number: int = 1, **fields: object) -> Launch:
    settings = {
        "executable": find(""),
        "profile": profile.directory(home, number),
        "marker": processes.mark(home, number),
    } | fields
    return Launch(**settings)  # type: ignore[arg-type]  # fields of the dataclass by name


def test_owner_killed_takes_its_browsers_with_it(home: Path) -> None:
    with owner(home, 1, 2) as process:
        assert len(chromiums(home)) > 6
        process.kill()
        eventually(lambda: not chromiums(home), 5, lambda: str(chromiums(home)))
        for number in (1, 2):
            kept = profile.directory(home, number)
            assert profile.claim(kept, profile.browser_user(), holds_slot_lock=False), (
                "a dead browser's lock was not seen"
            )
            assert not (kept / "SingletonLock").is_symlink()
            assert list(profile.temporary(kept).iterdir()) == []


def test_frozen_helpers_that_outlive_their_processes_are_killed_by_the_next_life(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web):
            assert chromiums(home) == []

    with owner(home, 1) as process:
        for pid in chromiums(home):
            os.kill(pid, signal.SIGSTOP)
        process.kill()
        eventually(lambda: not any(map(leads, chromiums(home))), 5)
        assert chromiums(home), "a stopped helper cannot notice that its browser is gone"
        run(scenario())


def leads(pid: int) -> bool:
    """Whether this is a browser's main process, and not a helper."""
    try:
        return processes.MARKER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_sweep_ends_strays_of_this_home_and_of_no_other(home: Path, web: Web) -> None:
    other = Path(tempfile.mkdtemp(prefix="bh-"))

    async def scenario() -> None:
        async with session_env(home, web) as here:
            assert chromiums(home) == []
            assert await here.sessions.sweep() == 0

    with owner(home, 1), owner(other, 1):
        kept = chromiums(other)
        assert chromiums(home)
        run(scenario())
        assert set(kept) <= set(chromiums(other))
    profile.wipe(other)


def open_files(pid: int) -> set[Path]:
    """Return what a living process has open; it opens and closes files while we look."""
    found = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(file.readlink())
    return found


def test_starts_and_ends_without_a_trace(home: Path) -> None:
    async def scenario() -> None:
        kept = profile.directory(home, 1)
        read, write = os.pipe()
        chromium = await Chromium.start(launch(home, keep_open=(write,)), patient_by(20))
        assert Path(f"/proc/self/fd/{write}").readlink() in open_files(chromium.pid), (
            "the slot would count as free while this browser lives"
        )
        environ = Path(f"/proc/{chromium.pid}/environ").read_bytes()
        assert b"PYTEST_CURRENT_TEST" not in environ, "the browser may not see our environment"
        assert (kept / "SingletonSocket").readlink().is_relative_to(profile.temporary(kept)), (
            "its temporary files lie elsewhere"
        )
        with pytest.raises(ProfileTaken):
            await Chromium.start(launch(home), patient_by(20))
        assert processes.is_alive(chromium.pid), "the refused start harmed the owner"
        await chromium.end()
        assert chromium.gone.result() == -signal.SIGKILL
        assert chromiums(home) == []
        assert not profile.temporary(kept).exists()
        assert not (kept / "SingletonLock").is_symlink()
        os.close(read)
        os.close(write)

    run(scenario())


def test_chromium_that_does_not_answer_is_ended(home: Path, tmp_path: Path) -> None:
    mute = tmp_path / "chromium"
    mute.write_text("#!/bin/sh\necho 'no display' >&2\nsleep 60 & wait\n")
    mute.chmod(0o755)

    async def scenario() -> None:
        with pytest.raises(ChromiumFailed, match="did not answer on its debugging pipe in time: no display"):
            await Chromium.start(launch(home, executable=mute), monotonic() + 0.5)
        assert chromiums(home) == []

    run(scenario())
    # the wrapper's helper names no profile; it went with the session (the suite fails a test that leaves a process
    # behind)


@pytest.mark.parametrize(
    ("host", "pid", "holds_slot", "freed"),
    [
        ("here", 2**22 - 3, False, True),
        ("here", "stranger", False, True),
        ("here", "file", False, True),
        ("here", "directory", False, True),
        ("elsewhere", 1, True, True),
        ("elsewhere", 1, False, False),
        (None, None, False, False),
    ],
    ids=[
        "dead owner",
        "owner's number taken by a stranger",
        "a plain file, as a copy that followed links leaves it",
        "a directory",
        "other host, slot held",
        "other host, slot not held",
        "no lock",
    ],
)
def test_lock_is_removed_only_when_its_owner_is_proved_dead(
    home: Path, host: str | None, pid: object, holds_slot: bool, freed: bool
) -> None:
    directory = profile.directory(home, 1)
    directory.mkdir(parents=True)
    lock = directory / "SingletonLock"
    if host is None:
        assert profile.claim(directory, None, holds_slot_lock=holds_slot) is False
        return
    name = socket.gethostname() if host == "here" else "another-host"
    if pid == "file":
        lock.write_text("bh-1234")
    elif pid == "directory":
        (lock / "below").mkdir(parents=True)
    else:
        lock.symlink_to(f"{name}-{os.getppid() if pid == 'stranger' else pid}")
    if freed:
        assert profile.claim(directory, None, holds_slot_lock=holds_slot) is True
    else:
        with pytest.raises(ProfileTaken, match="nothing proves"):
            profile.claim(directory, None, holds_slot_lock=holds_slot)
    assert os.path.lexists(lock) is not freed


def test_long_paths_get_their_temporary_files_elsewhere(home: Path) -> None:
    far = home / ("d" * 60)

    async def scenario() -> None:
        chromium = await Chromium.start(launch(far), patient_by(20))
        await chromium.end()

    assert profile.temporary(profile.directory(home, 1)) == home / "sessions" / "1" / "tmp"
    elsewhere = profile.temporary(profile.directory(far, 1))
    assert elsewhere.parent == Path(tempfile.gettempdir())
    run(scenario())
    assert not elsewhere.exists()


@contextmanager
def stranger(*arguments: str) -> Iterator[int]:
    """A process that is not ours and names what is, as a backup of the profiles does."""
    command = [sys.executable, "-c", "import time\ntime.sleep(120)", *arguments]
    with subprocess.Popen(command, start_new_session=True) as process:
        strangers.add(process.pid)
        try:
            yield process.pid
            assert process.poll() is None, "a process that is not ours was killed"
        finally:
            process.kill()
            strangers.discard(process.pid)


def test_a_stranger_that_names_a_profile_is_not_killed_and_keeps_no_session_from_starting(home: Path, web: Web) -> None:
    kept = profile.directory(home, 1)

    async def scenario() -> None:
        async with session_env(home, web) as here:
            here.store.want(1)
            await here.until(SessionState.NEEDS_LINK)
            await here.sessions.wipe(1, patient_by(10))

    named = (f"--directory={kept}", f"--user-data-dir={kept}", f"{kept}/Default", processes.mark(home, 1))
    with stranger(*named) as pid:
        # a dead browser's record has its number, too
        kept.mkdir(parents=True)
        profile.running(kept).parent.mkdir()
        identity = processes.identify(pid)
        for wrong in (replace(identity, started=identity.started - 1), replace(identity, boot="another boot")):
            processes.record(wrong, profile.running(kept))
            assert profile.living(home) == []
        processes.record(identity, profile.running(kept))
        assert profile.living(home) == [pid], "what was written down is found"
        profile.running(kept).unlink()
        run(scenario())


def test_a_profile_that_cannot_be_used_fails_alone(home: Path, web: Web) -> None:
    sessions = home / "sessions"
    (sessions / "lost+found").mkdir(parents=True, mode=0o000)
    (sessions / "2").write_text("a file where a profile should be")
    locked = sessions / "3" / "tmp"
    locked.parent.mkdir()
    locked.symlink_to("/")

    async def scenario() -> None:
        async with session_env(home, web) as here:
            for number in (1, 2, 3):
                here.store.want(number)
            await here.until(SessionState.NEEDS_LINK)
            assert await here.passed(SessionState.BACKING_OFF, 2)
            await here.until(SessionState.NEEDS_LINK, 3)
            assert Path("/etc").exists()
            assert (sessions / "lost+found").exists()

    run(scenario())


def listening(pids: Sequence[int]) -> list[str]:
    """Return the network sockets on which a process of `pids` waits for callers."""
    inodes = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


def test_no_other_user_reaches_a_browser_and_its_page_reaches_nothing_of_ours(home: Path) -> None:
    secret = home / "secret"
    secret.write_text("ours alone")
    secret.chmod(0o600)

    async def scenario() -> None:
        chromium = await Chromium.start(launch(home), patient_by(20))
        try:
            assert listening(chromium.pids()) == [], "a debugging port is open to every user of the machine"
            browser = await Browser.open(chromium.pipe, patient_by(10))
            user = profile.browser_user()
            if user is None:
                assert os.geteuid() != 0
                return
            owners = {Path(f"/proc/{pid}/status").read_text().split("Uid:\t")[1].split()[0] for pid in chromium.pids()}
            assert owners == {str(user.uid)}, "a browser runs with root's rights"
            with pytest.raises(BrowserLost, match="ERR_ACCESS_DENIED"):
                await browser.go(secret.as_uri(), patient_by(10))
            assert chromium.sandboxed is not processes.has_argument(chromium.pid, "--no-sandbox")
        finally:
            await chromium.end()

    run(scenario())


def test_links_in_a_profile_are_not_followed(home: Path) -> None:
    """As root we write beside a browser that may be in a page's hands."""
    kept, ours = profile.directory(home, 1), home / "ours"
    kept.mkdir(parents=True)
    ours.write_text("kept")
    (kept / "chromium.log").symlink_to(ours)
    (kept / "tmp").symlink_to(home)

    async def scenario() -> None:
        chromium = await Chromium.start(launch(home), patient_by(20))
        chromium.trim_log()
        await chromium.end()

    run(scenario())
    assert ours.read_text() == "kept"
