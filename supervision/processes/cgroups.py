"""Killing of whole process trees by cgroup (v2): one group for each incarnation, killed by the kernel in one step.

It holds where a cgroup v2 hierarchy is mounted and we may make groups below our own (root, or a unit with
Delegate=yes). It works for processes that left their session and cleared their environment, which /proc alone cannot
attribute.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.logs import logger

log = logger(__name__)

_YOUNG_S: Final = 60.0
"""Seconds for which an empty group of another home is left alone: its orchestrator may just be starting."""


class Cgroups:
    """The groups of one home, below the cgroup that this process is in."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._paths: dict[str, Path] = {}

    @classmethod
    def probe(cls, home: Path) -> Cgroups | None:
        """Return the groups of `home` if the kernel and our rights allow killing by cgroup, else None."""
        mount, own = _mount_point(), _own_group()
        if mount is None or own is None:
            return None
        # An orchestrator that was itself started inside such a group (by a supervised shell) still uses the common
        # place above, or groups would nest and die with each other.
        inside = mount / own.lstrip("/")
        above = next(
            (folder.parent for folder in (inside, *inside.parents) if folder.name.startswith("bulkhead-")), inside
        )
        _sweep(above)
        # A directory name of fixed length for a path of any length.
        base = above / f"bulkhead-{hashlib.blake2s(os.fsencode(home), digest_size=6).hexdigest()}"
        probe = base / "trial"
        try:
            base.mkdir(exist_ok=True)
            # Tried and not deduced: delegation, read-only mounts and old kernels without cgroup.kill (before 5.14) all
            # show here.
            probe.mkdir(exist_ok=True)
            usable = os.access(probe / "cgroup.kill", os.W_OK) and os.access(probe / "cgroup.procs", os.W_OK)
            probe.rmdir()
            if not usable:
                base.rmdir()
        except OSError:
            with suppress(OSError):
                base.rmdir()
            return None
        return cls(base) if usable else None

    def place(self, incarnation: str, pid: int) -> bool:
        """Put `pid`, and so everything that it will start, into the incarnation's group. Returns whether that
        worked."""
        path = self._base / incarnation
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Right after the start: what the process forks from now on is born in the group.
            (path / "cgroup.procs").write_text(str(pid), encoding="ascii")
        # Without a group this incarnation is walked like on a machine without cgroups.
        except OSError as refusal:
            log.warning("cgroup_not_entered", of=incarnation, problem=str(refusal))
            return False
        self._paths[incarnation] = path
        return True

    def adopt(self, incarnation: str, pid: int) -> None:
        """Remember the group that an earlier orchestrator made for `pid`, wherever it is."""
        mount, own = _mount_point(), _own_group(pid)
        # The group may lie elsewhere: the earlier orchestrator may have run in another unit.
        if mount is not None and own is not None and own.endswith(f"/{incarnation}"):
            self._paths[incarnation] = mount / own.lstrip("/")

    def has(self, incarnation: str) -> bool:
        """Whether there is a group for the incarnation."""
        return incarnation in self._paths

    def kill(self, incarnation: str) -> None:
        """Send SIGKILL to every process in the group at once."""
        path = self._paths.get(incarnation)
        if path is not None:
            with suppress(OSError):
                # The kernel also kills what is being forked at that moment, which no loop over pids can.
                (path / "cgroup.kill").write_text("1", encoding="ascii")

    def members(self, incarnation: str) -> set[int]:
        """Return the pids in the group; zombies do not count."""
        path = self._paths.get(incarnation)
        if path is None:
            return set()
        try:
            if "populated 0" in (path / "cgroup.events").read_text(encoding="ascii"):
                return set()  # cgroup.procs would list zombies too
            pids = {int(pid) for pid in (path / "cgroup.procs").read_text(encoding="ascii").split()}
        except OSError:
            return set()
        # 0: a process of another pid namespace (cgroups(7)); kill(2) would take it for our own process group
        return pids - {0}

    def leftovers(self, living: set[str]) -> set[str]:
        """Return the incarnations of this home whose group still has processes and that are not in `living`; empty
        groups are removed."""
        found: set[str] = set()
        # Groups outlive their orchestrator, so that what is left of its children can still be named.
        for path in _folders(self._base):
            if path.name in living:
                continue
            self._paths[path.name] = path
            if self.members(path.name):
                found.add(path.name)
            else:
                self.remove(path.name)
        return found

    def remove(self, incarnation: str) -> None:
        """Remove the empty group of a dead incarnation."""
        path = self._paths.pop(incarnation, None)
        if path is not None:
            with suppress(OSError):
                path.rmdir()

    def close(self) -> None:
        """Remove the home's own group if nothing is left in it."""
        with suppress(OSError):
            self._base.rmdir()


def _sweep(above: Path) -> None:
    """Remove groups of homes that were killed and never started again. Young ones may be about to get their process."""
    old = time.time() - _YOUNG_S
    for base in above.glob("bulkhead-*"):
        for group in (*_folders(base), base):
            with suppress(OSError):  # busy: a process is in it
                # A group with a process in it cannot be removed; the kernel refuses.
                if group.stat().st_mtime < old:
                    group.rmdir()


def _folders(base: Path) -> list[Path]:
    """Return the folders in one that may be another user's, or go meanwhile with the orchestrator that made it."""
    with suppress(OSError):
        return [path for path in base.iterdir() if path.is_dir()]
    return []


def _mount_point() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        # The optional fields before the hyphen vary in number (proc(5), mountinfo); the mount point is the fifth.
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


def _own_group(pid: int | str = "self") -> str | None:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
            # Hierarchy 0 is cgroup v2; other lines belong to v1.
            if line.startswith("0::"):
                return line[3:]
    return None
