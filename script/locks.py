"""Writes `requirements.lock` and `requirements-dev.lock`: every package at one version, with the hashes of its files.

`requirements.txt`, the extras in `setup.cfg` and `requirements-dev.txt` name the direct requirements. pip resolves the
rest once, and reports the file that it would install for each supported platform and Python version, with its hash.
Nothing is installed.
"""

from __future__ import annotations

import configparser
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY: Final = Path(__file__).parents[1]
PYTHONS: Final = ("3.11", "3.12", "3.13")
MACHINES: Final = ("x86_64", "aarch64")
_GLIBC: Final = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 40)))
"""Platform tags of wheels for Linux; 2_39 is the C library of Ubuntu 24.04."""

_HEADING: Final = """\
# Every package that {what} installs, at one version, with the hashes of its files for Linux on x86_64 and aarch64
# and Python 3.11 to 3.13.
# Written by script/lock from {sources}.
"""


class PipFailed(Exception):
    """pip failed; the text is its output."""


def requirements_of(path: Path) -> list[str]:
    """Return the requirements in a file, without comments and included files."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def extras() -> dict[str, list[str]]:
    """Return the requirements of each extra in setup.cfg."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    return {
        name: [line for line in text.splitlines() if line] for name, text in config["options.extras_require"].items()
    }


def of_program() -> list[str]:
    """Return the requirements of the program and of the extra `all`."""
    named = extras()
    collected = (named[line.removeprefix("bulkhead[").removesuffix("]")] for line in named["all"])
    return [*requirements_of(REPOSITORY / "requirements.txt"), *(line for lines in collected for line in lines)]


def of_development() -> list[str]:
    """Return these, and the requirements of tests and checks."""
    return [*of_program(), *requirements_of(REPOSITORY / "requirements-dev.txt")]


def _report(requirements: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """Return what pip would install for these requirements. Indexes in this machine's configuration are ignored, since
    other machines do not have them.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(requirements))
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--report",
            "-",
        ]
        done = subprocess.run(
            [*command, *options, "-r", str(file)],
            # os.devnull makes pip load no configuration file (pip documentation, Configuration)
            env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
            check=False,
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        raise PipFailed(done.stderr)
    installed: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return installed


def resolve(requirements: Sequence[str]) -> dict[str, str]:
    """Return the version of every required package, by name.

    Raises:
        RuntimeError: another supported Python version needs a further package, which pip, resolving for the running
            version, leaves out.
    """
    installed = _report(requirements)
    versions: dict[str, str] = {
        canonicalize_name(row["metadata"]["name"]): row["metadata"]["version"] for row in installed
    }
    for row in installed:
        for needed in _needed_elsewhere(row["metadata"].get("requires_dist", ())):
            if canonicalize_name(needed) not in versions:
                raise RuntimeError(
                    f"{row['metadata']['name']} needs {needed} for another Python version: name it in requirements.txt"
                )
    return versions


def _needed_elsewhere(requires: Iterable[str]) -> Iterator[str]:
    """Return a package's requirements on any supported Python version, without extras."""
    for requirement in map(Requirement, requires):
        for version in PYTHONS:
            environment = {
                **default_environment(),
                "python_version": version,
                "python_full_version": f"{version}.0",
                "extra": "",
            }
            if requirement.marker is None or requirement.marker.evaluate({k: str(v) for k, v in environment.items()}):
                yield requirement.name
                break


def hashes(versions: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the hashes of the files that would be installed, by package."""
    if not versions:
        return {}
    found: defaultdict[str, set[str]] = defaultdict(set)
    without_wheel: set[str] = set()
    # a compiled wheel has a file, and so a hash, for each of them
    for python, machine in itertools.product(PYTHONS, MACHINES):
        platforms = [word for tag in _GLIBC for word in ("--platform", f"{tag}_{machine}")]
        # pip accepts another platform or Python only with --target and --only-binary; nothing is written there
        # (--dry-run)
        target = ("--no-deps", "--only-binary", ":all:", "--target", "unused", "--python-version", python, *platforms)
        pins = {name: f"{name}=={version}" for name, version in versions.items()}
        while pins:
            try:
                report = _report(pins.values(), *target)
                break
            except PipFailed as failure:
                # pip stops at the first package without a wheel: leave it out and try the others again
                missing = re.search(r"No matching distribution found for ([\w.-]+)==", str(failure))
                # any other failure, such as an unreachable index, must not look like a missing wheel
                if missing is None:
                    raise
                name = canonicalize_name(missing[1])
                del pins[name]
                without_wheel.add(name)
        for package, digest in map(_file_of, report):
            found[package].add(digest)
    for package in sorted(without_wheel):
        # built from source where it is installed
        source = _report([f"{package}=={versions[package]}"], "--no-deps", "--no-binary", package)
        found[package].update(digest for _, digest in map(_file_of, source))
    return found


def _file_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return a package's name and the hash of its file.

    Raises:
        RuntimeError: the file is local to this machine, so that no other machine can install it.
    """
    download = row["download_info"]
    if download["url"].startswith("file:"):
        raise RuntimeError(f"{download['url']} is a file of this machine: others cannot install it")
    return canonicalize_name(row["metadata"]["name"]), download["archive_info"]["hashes"]["sha256"]


def known_hashes(lock: Path) -> dict[str, set[str]]:
    """Return the hashes in a lock file, by `name==version`. A released version does not change, so that its hashes need
    no second query.
    """
    text = lock.read_text(encoding="utf-8").replace("\\\n", "") if lock.exists() else ""
    entries = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {entry[0]: {word.removeprefix("--hash=sha256:") for word in entry[1:]} for entry in entries}


def text_of(versions: Mapping[str, str], known: Mapping[str, set[str]]) -> str:
    """Return the lines of a lock file."""
    entries = (
        (f"{name}=={versions[name]}", *(f"--hash=sha256:{digest}" for digest in sorted(known[name])))
        for name in sorted(versions)
    )
    return "".join(" \\\n    ".join(entry) + "\n" for entry in entries)


def main() -> None:
    """Write both files."""
    development = resolve(of_development())
    # the same versions in both files, so that the tested versions are those that run
    program = {name: development[name] for name in resolve(of_program())}
    before = known_hashes(REPOSITORY / "requirements-dev.lock")
    pins = {name: f"{name}=={version}" for name, version in development.items()}
    known = {name: before[pin] for name, pin in pins.items() if pin in before}
    known |= hashes({name: version for name, version in development.items() if name not in known})
    sources = "requirements.txt and the extras of setup.cfg"
    for name, versions, what, origin in (
        ("requirements.lock", program, "script/run", sources),
        ("requirements-dev.lock", development, "script/test", f"{sources}, and requirements-dev.txt"),
    ):
        heading = _HEADING.format(what=what, sources=origin)
        (REPOSITORY / name).write_text(heading + text_of(versions, known), encoding="utf-8")
        print(f"{name}: {len(versions)} packages")


if __name__ == "__main__":
    main()
