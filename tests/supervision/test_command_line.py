"""The command line: options anywhere, one law of exit codes, nothing written by a command that only reads."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from embedded import addresses
from script.openapi import openapi_document
from shared import settings
from shared.errors import SettingsInvalid
from shared.kinds import KINDS
from shared.process.exit_codes import ExitCode
from shared.settings import ChildEnvironment, load
from shared.store import old_server
from supervision.commands import command_line, entry, options
from supervision.commands.command_exits import NEEDS, CommandExit, Needs
from supervision.commands.context import Context
from supervision.decisions.restart_policy import Policy
from supervision.environment import child_environ
from tests.supervision.env import SupervisionEnv
from tests.supervision.test_commands import API
from tests.supervision.test_environment import child_config
from tests.support import environment

CONTEXT = Context(environ={}, rows=KINDS, entries=environment.REPOSITORY, embedded=addresses, policy=Policy())


def parsed(words: str) -> tuple[str, dict[str, Any]]:
    """Return the command that a command line means, and its parameters."""
    group: click.Command = command_line.root(CONTEXT)
    rest = command_line.arranged(command_line.root(CONTEXT), words.split())
    path, context = [], click.Context(group, obj=CONTEXT)
    while isinstance(group, click.Group):
        name, found, rest = group.resolve_command(context, rest)
        assert name is not None and found is not None
        path.append(name)
        group, context = found, click.Context(found, parent=context)
    return " ".join(path), group.make_context(path[-1], rest, parent=context.parent).params


@pytest.mark.parametrize(
    ("words", "command", "expected"),
    [
        ("connections test --company demo 0", "connections test", {"company": "demo", "index": 0}),
        ("connections --company demo test 0", "connections test", {"company": "demo", "index": 0}),
        ("connections test 0 --company demo", "connections test", {"company": "demo", "index": 0}),
        ("--company demo connections test 0", "connections test", {"company": "demo", "index": 0}),
        ("--company status connections test 0", "connections test", {"company": "status", "index": 0}),
        ("--company=demo connections --json test 0", "connections test", {"company": "demo", "as_json": True}),
        ("connections --json list", "connections list", {"as_json": True}),
        ("connections", "connections list", {"as_json": False}),
        ("sessions link --company demo 1 --within 5", "sessions link", {"company": "demo", "index": 1, "within": 5.0}),
        ("companies add --name Acme acme", "companies add", {"name": "Acme", "company": "acme"}),
        ("keys --json rotate 3 --overlap 60", "keys rotate", {"id": "3", "overlap": 60, "as_json": True}),
        ("alerts --all", "alerts list", {"with_ended": True}),
        ("alerts silence --for 2h --reason x ProcessDown", "alerts silence", {"for_s": 7200, "name": "ProcessDown"}),
        ("events -n 3 api --json", "events", {"target": "api", "lines": 3, "as_json": True}),
        ("logs --err meta-0 -f", "logs", {"targets": ("meta-0",), "err": True, "follow": True}),
        ("restart --within 3 meta", "restart", {"target": "meta", "within": 3.0}),
        ("drain --within 3 meta", "drain", {"target": "meta", "within": 3.0}),
        ("--json status", "status", {"as_json": True}),
        ("--only api,meta", "run", {"only": "api,meta"}),
        ("webhooks --failed -n 3", "webhooks list", {"failed": True, "limit": 3}),
        ("--wait 3 webhooks replay 7 8", "webhooks replay", {"ids": (7, 8), "wait": 3.0}),
        ("--what contacts import --dry-run", "import", {"what": ("contacts",), "dry_run": True}),
        ("move --old-on a --old-off b --percent 10 --for 2d", "move", {"percent": 10.0, "watch_s": 172800}),
        ("--listen :4000 shadow --old http://a --new http://b --key-file k", "shadow", {"listen": ("127.0.0.1", 4000)}),
        ("--company demo dead-letters redrive", "dead-letters redrive", {"company": "demo"}),
        ("chaos --plan calm", "chaos run", {"plan": "calm", "faults": 100, "report": None}),
        ("--faults 3 chaos --browser run --seed 7", "chaos run", {"faults": 3, "browser": True, "seed": 7}),
        ("chaos upgrade --versions 2 --load 15", "chaos upgrade", {"versions": 2, "load": 15.0, "to": "HEAD"}),
    ],
)
def test_options_may_stand_anywhere(words: str, command: str, expected: dict[str, object]) -> None:
    name, given = parsed(words)
    assert name == command
    assert given.items() >= expected.items()


@pytest.mark.parametrize(
    ("words", "only"),
    [
        ("", ""),
        ("run", ""),
        ("--only api,meta", "api,meta"),
        ("run --only api", "api"),
        ("--only=api run", "api"),
        ("run --only", None),
        ("run --onyl api", None),
        ("run run", None),
        ("status", None),
        ("--help", None),
    ],
)
def test_the_supervisor_parses_its_one_option_itself(words: str, only: str | None) -> None:
    assert entry.only_of(words.split()) == only


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["restart"],
        ["connections", "test", "--colour"],
        ["connections", "test"],
        ["status", "extra"],
        *(["events", "-n", number] for number in ("-1", "0", "1_0", "²", "9" * 40)),
        ["logs", "api", "-n", "-1"],
        ["connections", "pause", "-1"],
        ["dead-letters", "list", "-n", "1001"],
        ["dead-letters", "redrive"],
        ["stop", "--within", "-1"],
        ["stop", "--within", "nan"],
        ["events", "--since", "yesterday"],
        ["alerts", "silence"],
        ["run", "--only"],
        ["--nosuch"],
        ["send", "15550100200"],
        ["send", "15550100200", "--body", "[]"],
        ["hooks", "replay", "1"],
        ["webhooks", "replay"],
        ["webhooks", "show", "x"],
        ["import", "--what", "nothing"],
        ["import", "--column", "history=x"],
        ["import", "--table", "pigeons=x"],
        ["chaos", "--plan", "nothing"],
        ["chaos", "--rate", "0"],
        ["chaos", "--hosts", "6"],
        ["chaos", "upgrade", "--plan", "calm"],
        ["move", "--percent", "101", "--old-on", "a", "--old-off", "b"],
        ["move", "--percent", "10"],
        ["shadow", "--old", "ftp://a", "--new", "http://b", "--key-file", "k"],
        ["shadow", "--old", "http://a", "--new", "http://b", "--key-file", "k", "--listen", "x"],
    ],
)
def test_what_is_no_command_line_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(words, CONTEXT) == ExitCode.USAGE
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("connections pause", "`bulkhead connections list` shows them."),
        ("sessions wipe", "`bulkhead sessions list` shows them."),
        ("keys revoke", "`bulkhead keys list` shows them."),
        ("alerts unsilence", "`bulkhead alerts silences` shows them."),
        ("hooks test", "`bulkhead hooks list` shows them."),
        ("connectoins list", "Did you mean"),
    ],
)
def test_an_error_says_where_to_look(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(words.split(), CONTEXT) == ExitCode.USAGE
    assert hint in capsys.readouterr().err


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its whole name."""
    waiting: list[tuple[str, click.Command]] = [("", command_line.root(CONTEXT))]
    while waiting:
        name, found = waiting.pop()
        if isinstance(found, click.Group):
            context = click.Context(found)
            for below in found.list_commands(context):
                command = found.get_command(context, below)
                assert command is not None, below
                waiting.append((f"{name} {below}".strip(), command))
        else:
            yield name, found


def test_an_option_has_one_arity_and_every_command_says_what_it_does() -> None:
    """Options that stand before their command are distinguished from arguments by their names alone."""
    flags: dict[str, bool] = {}
    for name, command in every_command():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or parameter.hidden, f"{name} {parameter.opts}"
                for option in parameter.opts:
                    assert flags.setdefault(option, parameter.is_flag) == parameter.is_flag, f"{name} {option}"


@pytest.mark.parametrize("words", ["--help", "connections -h", "logs --help", "-h"])
def test_help_needs_nothing(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(words.split(), CONTEXT) == ExitCode.OK
    assert capsys.readouterr().out.startswith("Usage: bulkhead")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["completion", shell], CONTEXT) == ExitCode.OK
    assert entry.COMPLETION_VARIABLE in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rest", {"restart", "restore"}),
        ("restart meta-", {"meta-0", "meta-1"}),
        ("connections pa", {"pause"}),
        ("webhooks re", {"replay"}),
        ("move --old-o", {"--old-on", "--old-off"}),
    ],
)
def test_commands_and_slots_are_completed(words: str, expected: set[str]) -> None:
    """As bash asks."""
    answer = subprocess.run(
        [sys.executable, "orchestrator.py"],
        cwd=environment.REPOSITORY,
        env=environment.clean(
            **{
                "COMP_WORDS": f"bulkhead {words}",
                "COMP_CWORD": str(len(words.split())),
                entry.COMPLETION_VARIABLE: "bash_complete",
            }
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = {line.rpartition(",")[2] for line in answer.stdout.splitlines()}
    assert found == expected, answer.stderr


_SAMPLES = {
    "restart": "restart api",
    "dead-letters": "dead-letters list",
    "webhooks": "webhooks list",
    "messages": "messages search",
    "send": "send 15550100200 hello",
    "backup": "backup /tmp/never-written.tar",
    "move": "move --percent 10 --old-on active --old-off inactive",
}
"""Command lines of commands that need more words than their name."""
NEED_AN_INSTANCE = tuple(_SAMPLES.get(name, name) for name, needs in NEEDS.items() if needs is Needs.ORCHESTRATOR)
OF_THE_EMBEDDED_DATABASE = (
    "connections reseal",
    *(_SAMPLES.get(name, name) for name, needs in NEEDS.items() if needs is Needs.DATABASE),
)


def test_where_nothing_runs_a_command_says_so(env: SupervisionEnv) -> None:
    answer = env.rows(API).command("ps")
    assert (answer.returncode, answer.stdout + answer.stderr) == (
        CommandExit.NOT_RUNNING,
        f"Nothing runs over {env.home}.\n",
    )


@pytest.mark.parametrize("words", NEED_AN_INSTANCE)
def test_where_nothing_runs_each_command_says_so_and_writes_nothing(
    home: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    context = replace(CONTEXT, environ={"BULKHEAD_HOME": str(home)})
    assert entry.main(words.split(), context) == CommandExit.NOT_RUNNING
    answer = capsys.readouterr()
    assert answer.out + answer.err == f"Nothing runs over {home}.\n"
    assert list(home.iterdir()) == []


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
    assert entry.main(["webhooks", "list", "--since", when], CONTEXT) == ExitCode.USAGE
    assert "--since" in capsys.readouterr().err


def test_every_operation_that_a_command_asks_for_is_there() -> None:
    """A command whose operation is gone would only say that there is nothing at a path, and `top` that the database
    cannot be asked."""
    paths = set(openapi_document()["paths"])
    asked = {
        (file.name, is_whole == "", path)
        for file in Path(command_line.__file__).parent.glob("*.py")
        for is_whole, path in re.findall(r'"(?:GET|POST|PUT|PATCH|DELETE)",\s*(f?)"(/[^"{?]*)', file.read_text())
    }
    assert ("top.py", True, "/health/all") in asked
    assert not {
        one
        for one in asked
        for _, is_whole, path in [one]
        if path not in paths and (is_whole or not any(known.startswith(path) for known in paths))
    }


def test_names_of_old_tables_are_those_of_the_store() -> None:
    """The command line does not load it."""
    assert set(options.OLD_TABLES) == set(old_server.TABLES)


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


def test_the_process_that_supervises_loads_no_library_of_the_command_line() -> None:
    """With settings that end it at once: what it has loaded until then, it has loaded for good."""
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "orchestrator.py", "run", "--only", "nosuch"],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == ExitCode.USAGE
    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if "|" in line}
    assert "supervision.supervisor" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in ("click", "rich")}


def test_without_a_terminal_no_library_of_terminals_is_loaded() -> None:
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "orchestrator.py", "doctor"],
        cwd=environment.REPOSITORY,
        env=environment.clean(api_port="x"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == ExitCode.CONFIGURATION
    assert "API_PORT" in answer.stdout
    assert " rich" not in answer.stderr
