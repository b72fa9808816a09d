"""What `pip install .` would take along: every module, and every file beside the modules that the program reads."""

from __future__ import annotations

import configparser
import fnmatch
from collections.abc import Iterable
from pathlib import Path

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


def test_every_package_and_every_entry_file_is_listed() -> None:
    assert set(listed("options.packages.find", "include")) == {f"{package}*" for package in PACKAGES}
    assert set(listed("options", "py_modules")) == {"orchestrator", *(kind.entry.removesuffix(".py") for kind in KINDS)}


def test_every_version_is_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [
            line for line in (environment.REPOSITORY / name).read_text().splitlines() if line and line[0].isalpha()
        ]
        assert lines
        assert [line for line in lines if "==" not in line] == []
