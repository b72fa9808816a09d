"""The command line: options anywhere, one law of exit codes, nothing written by a command that only reads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from recorder import webhooks
from shared import settings
from shared.errors import SettingsInvalid
from shared.kinds import KINDS
from shared.process.exit_codes import ExitCode
from shared.settings import ChildEnvironment, load
from supervision.commands import entry
from supervision.commands.context import CommandExit
from supervision.environment import child_environ
from tests.supervision.env import SupervisionEnv
from tests.supervision.test_commands import API
from tests.supervision.test_environment import child_config
from tests.support import environment


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("connections test --company demo 0", {"action": "test", "company": "demo", "index": 0}),
        ("connections --company demo test 0", {"action": "test", "company": "demo", "index": 0}),
        ("connections test 0 --company demo", {"action": "test", "company": "demo", "index": 0}),
        ("--company demo connections test 0", {"action": "test", "company": "demo", "index": 0}),
        ("connections --json list", {"action": "list", "json": True, "index": None}),
        ("sessions link --company demo 1 --within 5", {"action": "link", "company": "demo", "index": 1, "within": 5.0}),
        ("companies add --name Acme acme", {"action": "add", "name": "Acme", "company": "acme"}),
        ("keys --json rotate 3 --overlap 60", {"action": "rotate", "id": "3", "overlap": 60, "json": True}),
        ("events -n 3 api --json", {"target": "api", "lines": 3, "json": True}),
        ("logs --err meta-0 -f", {"target": "meta-0", "err": True, "follow": True}),
        ("restart --within 3 meta", {"target": "meta", "within": 3.0}),
        ("drain --within 3 meta", {"target": "meta", "within": 3.0}),
        ("--json status", {"json": True}),
        ("--only api,meta", {"only": "api,meta"}),
        ("webhooks list --failed -n 3", {"words": ["list", "--failed", "-n", "3"]}),
        ("--company demo dead-letters redrive", {"action": "redrive", "company": "demo"}),
        ("chaos --plan calm", {"words": ["--plan", "calm"]}),
    ],
)
def test_options_may_stand_anywhere(words: str, expected: dict[str, object]) -> None:
    given = vars(entry._given(*entry._command_of(words.split())))
    assert given.items() >= expected.items()


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["restart"],
        ["connections", "test", "--colour"],
        ["status", "extra"],
        *(["events", "-n", number] for number in ("-1", "0", "1_0", "²", "9" * 40)),
        ["logs", "api", "-n", "-1"],
        ["connections", "pause", "-1"],
        ["dead-letters", "list", "-n", "1001"],
        ["stop", "--within", "-1"],
        ["stop", "--within", "nan"],
    ],
)
def test_what_is_no_command_line_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        entry._given(*entry._command_of(words))
    assert left.value.code == ExitCode.USAGE
    assert "usage: bulkhead" in capsys.readouterr().err


NEED_AN_INSTANCE = (
    "status",
    "ps",
    "restart api",
    "drain",
    "stop",
)
OF_THE_EMBEDDED_DATABASE = (
    "migrate",
    "dead-letters list",
    "webhooks list",
    "connections reseal",
    "reseal",
    "connections list",
    "companies list",
    "keys list",
    "sessions list",
)


@pytest.mark.parametrize("words", NEED_AN_INSTANCE)
def test_where_nothing_runs_each_command_says_so_and_writes_nothing(env: SupervisionEnv, words: str) -> None:
    env.rows(API)
    before = sorted(env.home.rglob("*"))
    answer = env.command(*words.split())
    assert (answer.returncode, answer.stdout + answer.stderr) == (
        CommandExit.NOT_RUNNING,
        f"Nothing runs over {env.home}.\n",
    )
    assert sorted(env.home.rglob("*")) == before


@pytest.mark.parametrize("words", [*OF_THE_EMBEDDED_DATABASE, "events", "env", "status"])
def test_the_program_itself_reads_a_foreign_folder_without_writing(tmp_path: Path, words: str) -> None:
    home = tmp_path / "foreign"
    home.mkdir(mode=0o755)
    answer = subprocess.run(
        [sys.executable, "orchestrator.py", *words.split()],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = ExitCode.OK if words in ("events", "env") else CommandExit.NOT_RUNNING
    assert answer.returncode == expected, answer.stderr
    assert list(home.iterdir()) == [] and stat.S_IMODE(home.stat().st_mode) == 0o755


@pytest.mark.parametrize("words", ["env", "events", "status"])
def test_a_home_that_is_not_there_is_not_made(home: Path, words: str) -> None:
    """With a short path, whose sockets would lie in the home itself."""
    gone = home / "gone"
    subprocess.run(
        [sys.executable, "orchestrator.py", words],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=gone),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert not gone.exists()


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "999999d", "yesterday"])
def test_an_instant_that_no_clock_shows_is_a_wrong_argument(when: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        webhooks._parser().parse_args(["list", "--since", when])
    assert left.value.code == ExitCode.USAGE
    assert "--since" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["events nosuch", "logs nosuch", "events api-x"])
def test_an_unknown_kind_is_an_error(env: SupervisionEnv, words: str) -> None:
    answer = env.rows(API).command(*words.split())
    assert answer.returncode == ExitCode.USAGE
    assert f"no kind or slot '{words.split()[1]}'; kinds: " in answer.stderr


def test_a_terminal_that_takes_ascii_alone_is_no_reason_to_fail(env: SupervisionEnv) -> None:
    env.rows(API).start(PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0").ready("api-0", "api-1")
    assert "api \\xd72" in env.output.read_text()


def test_a_name_that_is_almost_a_setting_is_reported(env: SupervisionEnv) -> None:
    env.rows(API).start(API_PROT="3000", DATABASE_POOL_API_MX="3").ready("api-0")
    assert "API_PROT is no setting; do you mean API_PORT?" in env.output.read_text()
    assert env.stop() == ExitCode.OK


def test_the_key_is_shown_to_a_terminal_alone(env: SupervisionEnv) -> None:
    env.rows(API).start()
    env.until(lambda: "API key" in env.output.read_text(), "the summary")
    said = env.output.read_text()
    assert env.variables["API_KEY"] not in said and "API key     (from API_KEY)" in said


def test_the_settings_file_is_for_us_alone(home: Path) -> None:
    file = home / "settings.env"
    file.write_text("API_KEY=0123456789abcdef\n")
    file.chmod(0o644)
    child_config(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("home", "why"),
    [("/tmp/a\nb", "holds a line break"), ("/" + "x" * 2400, "at most 900"), ("/a\x1b[2J", "line break")],
)
def test_a_home_that_postgresql_or_people_could_not_read_is_refused(home: str, why: str) -> None:
    with pytest.raises(SettingsInvalid, match=why):
        load({"BULKHEAD_HOME": home})


def test_an_api_key_that_is_a_placeholder_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="API_KEY is shorter than 8"):
        load({"API_KEY": "1"})
    assert load({"API_KEY": "12345678"}).api_key


def test_the_default_home_does_not_depend_on_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load({}).bulkhead_home == environment.REPOSITORY / "var"
    monkeypatch.setattr(settings, "_CHECKOUT", tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert settings.load({}).bulkhead_home == Path("/home/somebody/.local/state/bulkhead")
    assert settings.load({"XDG_STATE_HOME": "/state"}).bulkhead_home == Path("/state/bulkhead")


def test_no_variable_of_libpq_reaches_a_child(home: Path) -> None:
    ours = {"PGPORT": "1", "PGOPTIONS": "-c x=y", "PGSERVICE": "other", "PATH": os.environ["PATH"]}
    for row in KINDS:
        environ = child_environ(child_config(home), row, ChildEnvironment(process_name=row.name), ours)
        assert not [name for name in environ if name.startswith("PG")]


def test_the_version_is_that_of_the_program() -> None:
    answer = subprocess.run(
        [sys.executable, "orchestrator.py", "--version"],
        cwd=environment.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (
        f"version = {answer.stdout.removeprefix('bulkhead ').strip()}\n"
        in (environment.REPOSITORY / "setup.cfg").read_text()
    )
