"""What `pip install .` would take along: every module, and every file beside the modules that the program reads."""

from __future__ import annotations

import configparser
import fnmatch
import runpy
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from setuptools import find_namespace_packages

from script import locks
from shared.kinds import KINDS
from tests.architecture.rules import ROOMS
from tests.support import environment

PACKAGES = (*ROOMS, "shared", "migrations")


def listed(section: str, option: str) -> list[str]:
    config = configparser.ConfigParser()
    config.read(environment.REPOSITORY / "setup.cfg")
    return [word for word in config[section][option].replace(",", " ").split() if word]


def left_out(files: Iterable[Path], patterns: Iterable[str]) -> list[Path]:
    return [file for file in files if not any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns)]


def test_every_file_of_a_package_is_taken_along() -> None:
    files = [
        file
        for package in PACKAGES
        for file in (environment.REPOSITORY / package).rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    ]
    assert any(file.suffix == ".sql" and file.parent.name == "migrations" for file in files)
    assert not left_out(files, listed("options.package_data", "*"))


def test_a_file_that_no_pattern_names_is_noticed() -> None:
    assert left_out([Path("api/page.html"), Path("api/logo.xcf")], ["*.html"]) == [Path("api/logo.xcf")]


def test_every_package_and_every_entry_file_is_taken_along(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_namespace_packages(str(environment.REPOSITORY), exclude=listed("options.packages.find", "exclude"))
    assert {name for name in found if "." not in name} == set(PACKAGES)
    given: dict[str, list[str]] = {}
    monkeypatch.setattr("setuptools.setup", lambda **words: given.update(words))
    runpy.run_path(str(environment.REPOSITORY / "setup.py"))
    assert set(given["py_modules"]) == {"orchestrator", *(kind.entry.removesuffix(".py") for kind in KINDS)}


NAMED = {
    "requirements.lock": locks.of_program(),
    "requirements-dev.lock": locks.of_development(),
}
"""What each lock file is made from."""


def locked(name: str) -> dict[str, list[str]]:
    """Return the hashes of each `package==version` in a lock file."""
    text = (environment.REPOSITORY / name).read_text().replace("\\\n", "")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {line[0]: line[1:] for line in lines}


def test_every_version_is_pinned() -> None:
    named = [line for lines in (*NAMED.values(), *locks.extras().values()) for line in lines if "[" not in line]
    assert len(named) > 40
    assert [line for line in named if "==" not in line] == []


@pytest.mark.parametrize("lock", NAMED)
def test_the_lock_files_hold_what_is_named_and_hashes_of_everything(lock: str) -> None:
    """Red: run script/lock."""
    held = locked(lock)
    names = {canonicalize_name(entry.split("==")[0]): entry.split("==")[1] for entry in held}
    assert [
        line for line in NAMED[lock] if names.get(canonicalize_name(line.split("==")[0])) != line.split("==")[1]
    ] == []
    assert [
        entry for entry, hashes in held.items() if not hashes or any("--hash=sha256:" not in one for one in hashes)
    ] == []


def test_the_same_version_is_run_and_tested() -> None:
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


def test_no_file_names_a_package_index() -> None:
    files = [*environment.REPOSITORY.glob("requirements*"), environment.REPOSITORY / "bench" / "requirements.txt"]
    assert [file.name for file in files if "://" in file.read_text() or "-index" in file.read_text()] == []


def test_each_extra_is_installed_by_script_run_or_belongs_to_no_kind_that_runs() -> None:
    extras = locks.extras()
    collected = {line.removeprefix("bulkhead[").removesuffix("]") for line in extras["all"]}
    assert set(extras) - collected == {"all"}


def test_a_source_archive_has_what_operators_read_copy_and_run() -> None:
    lines = (environment.REPOSITORY / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    grafted = {line.removeprefix("graft ") for line in lines if line.startswith("graft ")}
    assert grafted >= {"deploy", "docs", "script", "ops"}
    assert all((environment.REPOSITORY / name).is_dir() for name in grafted)
    (included,) = [line.split()[1:] for line in lines if line.startswith("include ")]
    assert {"supervisord.conf", "*.lock", "*.md"} <= set(included)
