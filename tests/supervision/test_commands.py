"""The operator's command line against a real orchestrator, as an operator uses it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from shared import table
from shared.process import control_client, runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.settings import Settings
from supervision.commands.command_exits import NEEDS, CommandExit
from tests.supervision.env import PROGRAM, SupervisionEnv
from tests.support import environment
from tests.support.waiting import deadline_s

API = {"name": "api", "instances": 2, "instances_most": 10, "port": 3000}


def test_status_shows_every_slot_and_whether_all_is_well(env: SupervisionEnv) -> None:
    env.rows(API, {"name": "bad", "entry": "dies_at_boot", "intensity": 1}, probe_first_s=100).start().ready(
        "api-0", "api-1"
    )
    env.wait(Happened.QUARANTINED, "bad-0")
    status = env.command("status")
    assert status.returncode == CommandExit.UNWELL
    lines = {line.split()[0]: line for line in status.stdout.splitlines()}
    assert (
        "ready" in lines["api-0"]
        and env.variables["API_PORT"] in lines["api-0"]
        and env.variables["ADMIN_PORT"] in lines["api-0"]
    )
    assert "quarantined" in lines["bad-0"] and "code 70" in lines["bad-0"] and "next try in" in lines["bad-0"]
    as_json = json.loads(env.command("status", "--json").stdout)
    assert as_json["slots"]["api-1"]["state"] == "ready" and as_json["orchestrator_lives"] is True
    assert as_json["pid"] == env.orchestrator.pid


def test_status_of_nothing(env: SupervisionEnv) -> None:
    answer = env.rows(API).command("status")
    assert (answer.returncode, answer.stdout) == (CommandExit.NOT_RUNNING, f"Nothing runs over {env.home}.\n")
    for words in (["restart", "api"], ["drain"]):
        answer = env.command(*words)
        assert (answer.returncode, answer.stderr) == (CommandExit.NOT_RUNNING, f"Nothing runs over {env.home}.\n")
    assert env.command("stop").stdout == f"Nothing runs over {env.home}.\n"


def test_ps_lists_helpers(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "forks_away"}).start().ready("bad-0")
    rows = json.loads(env.command("ps", "--json").stdout)
    away = int((env.home / "helpers").read_text().split()[0])
    assert {row["pid"] for row in rows} >= {env.pid("bad-0"), away}
    assert all(row["memory_mb"] > 0 and row["slot"] == "bad-0" for row in rows)
    shown = env.command("ps").stdout
    assert all(row["command"][:100] in shown for row in rows), "the beginning of each command line"


def test_restart_of_one_slot_touches_no_other(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0", "api-1")
    untouched = env.pid("api-0")
    answer = env.command("restart", "api-1")
    assert answer.returncode == ExitCode.OK and answer.stdout.startswith("api-1 ready, process ")
    assert env.pid("api-0") == untouched and env.count(Happened.RESTARTING) == 0


def test_restart_reports_when_the_new_one_does_not_come_up(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "misconfigured"}).start()
    env.wait(Happened.MISCONFIGURED, "bad-0")
    answer = env.command("restart", "bad")
    assert (
        answer.returncode == CommandExit.UNWELL
        and "misconfigured" in answer.stderr
        and "COMPANY_ID must contain api" in answer.stderr
    )
    late = env.command("restart", "bad", "--within", "0")
    assert late.returncode == ExitCode.OK


def test_drain_holds_until_restart(env: SupervisionEnv) -> None:
    env.rows(API, {"name": "meta"}).start().ready("api-0", "api-1", "meta-0")
    answer = env.command("drain", "api")
    assert answer.returncode == ExitCode.OK and sorted(answer.stdout.splitlines()) == ["api-0 stopped", "api-1 stopped"]
    assert env.slot("meta-0")["state"] == "ready"
    assert "drained by an operator" in env.command("status").stdout
    assert env.command("restart", "api").returncode == ExitCode.OK
    everything = env.command("drain")
    assert everything.returncode == ExitCode.OK and "meta-0 stopped" in everything.stdout
    assert env.orchestrator.poll() is None


def test_a_drain_that_takes_too_long_is_said(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "ignores_term"}).start().ready("bad-0")
    answer = env.command("drain", "bad", "--within", "0.3")
    assert answer.returncode == CommandExit.UNWELL and "bad-0" in answer.stderr


def test_stop_waits_until_all_is_gone(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0")
    assert env.command("stop").returncode == ExitCode.OK
    assert env.orchestrator.wait(deadline_s(5)) == ExitCode.OK and env.alive() == {}


def test_stop_now_does_not_wait_for_what_is_in_hand(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "ignores_term", "drain_s": 60.0}, stop_now_s=0.2).start().ready("bad-0")
    assert env.command("stop", "--within", "0.2").returncode == CommandExit.UNWELL
    assert env.command("stop", "--now").returncode == ExitCode.OK


def test_logs_out_and_err_of_a_kind_and_of_the_orchestrator(env: SupervisionEnv) -> None:
    env.rows(API, {"name": "bad", "entry": "dies_after_ready", "intensity": 1}).start().ready("api-0", "api-1")
    env.wait(Happened.QUARANTINED, "bad-0")
    assert "born bad-0." in env.command("logs", "bad").stdout
    only_err = env.command("logs", "bad-0", "--err", "-n", "1")
    assert only_err.stdout == "cannot go on\n"
    both = env.command("logs", "api").stdout
    assert "api-0.out: born" in both and "api-1.out: born" in both
    assert "orchestrator_started" in env.command("logs", "orchestrator").stdout
    unknown = env.command("logs", "api-7")
    assert unknown.returncode == CommandExit.NOT_RUNNING and "no logs of 'api-7'" in unknown.stderr


def test_logs_follow(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    follower = subprocess.Popen(
        [sys.executable, str(PROGRAM), "logs", "api-0", "-f"],
        env=environment.clean(**env.variables),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert follower.stdout is not None
        assert b"born" in follower.stdout.readline()
        env.kill("api-0")
        assert b"born" in follower.stdout.readline()
    finally:
        follower.terminate()
        follower.wait(deadline_s(10))
        assert follower.stdout is not None
        follower.stdout.close()


def test_events_as_table_and_json(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0", "api-1")
    env.kill("api-1")
    env.wait(Happened.RESTARTING, "api-1")
    lines = env.command("events", "api-1", "-n", "100").stdout.splitlines()
    assert [line.split()[2] for line in lines][:5] == ["started", "ready", "exited", "slot_free", "restarting"]
    assert "signal=9" in lines[2]
    (last,) = env.command("events", "api", "-n", "1", "--json").stdout.splitlines()
    assert json.loads(last)["kind"] == "api"


def test_env_hides_secrets_unless_named(env: SupervisionEnv) -> None:
    env.rows(API)
    shown = env.command("env").stdout
    assert f"API_PORT={env.variables['API_PORT']}\n" in shown and "API_KEY=(secret)\n" in shown
    assert env.variables["API_KEY"] not in shown and "nobody@" not in shown
    assert env.command("env", "api_key").stdout == env.variables["API_KEY"] + "\n"
    unknown = env.command("env", "API_KEE")
    assert unknown.returncode == ExitCode.USAGE and "API_KEE" in unknown.stderr


def test_every_problem_of_the_settings_is_printed_at_once(env: SupervisionEnv) -> None:
    env.rows(API).variables |= {"API_PORT": "abc", "LOG_LEVEL": "loud", "META_ACCESS_TOKEN": ""}
    for words in (["run"], ["status"], []):
        answer = env.command(*words)
        assert answer.returncode == ExitCode.CONFIGURATION
        assert answer.stderr.splitlines() == [
            "LOG_LEVEL='loud' is not one of debug, info, warning, error",
            "API_PORT='abc' is not a whole number",
        ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fly"], "fly"),
        (["restart"], "KIND"),
        (["restart", ""], "given name is empty"),
        (["drain", ""], "is empty"),
        (["logs", "api", "-n", "x"], "no whole number"),
        (["run", "--only", "apo"], "unknown kinds: apo; known: api"),
    ],
)
def test_wrong_command_lines(env: SupervisionEnv, words: list[str], says: str) -> None:
    answer = env.rows(API).command(*words)
    assert answer.returncode == ExitCode.USAGE and says in answer.stderr


def test_unknown_targets(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0")
    answer = env.command("restart", "meta")
    assert answer.returncode == ExitCode.USAGE and "slots: api-0, api-1" in answer.stderr


def test_help_lists_every_command(env: SupervisionEnv) -> None:
    said = env.rows(API).command("--help")
    assert said.returncode == 0 and all(name in said.stdout for name in NEEDS)


def test_only_runs_what_is_named_and_what_that_needs(env: SupervisionEnv) -> None:
    env.rows(API | {"after": ["db"]}, {"name": "db"}, {"name": "meta"}).start("--only", "api").ready(
        "api-0", "api-1", "db-0"
    )
    assert "meta-0" not in env.status()["slots"]


def test_the_terminal_shows_progress_and_the_summary(env: SupervisionEnv) -> None:
    env.rows(API, {"name": "recorder", "entry": "recorder"}, {"name": "meta", "needed": "connections"})
    (env.home / "desired-by-fixture").write_text("meta")
    env.start("run", SANDBOX="on").ready("api-0", "api-1", "meta-0")
    env.until(lambda: "Everything is up." in env.output.read_text(), "the summary")
    said, port = env.output.read_text(), env.variables["API_PORT"]
    assert "api-0        ready after" in said
    assert f"Dashboard   http://127.0.0.1:{port}/dashboard" in said
    assert "go to the sandbox and reach no person" in said
    assert "API key     (from API_KEY)" in said and env.variables["API_KEY"] not in said, "this is no terminal"
    assert f"curl -X POST http://127.0.0.1:{port}/api/v2/messages/text/demo/15550100200 \\" in said
    assert said.index("meta-0       ready") < said.index("Everything is up.")
    assert "{" not in said.split("Everything is up.")[0], "a person reads this, not a machine"


def test_the_summary_names_what_is_not_up(env: SupervisionEnv) -> None:
    env.rows(API, {"name": "bad", "entry": "dies_at_boot", "intensity": 1}).start()
    env.until(lambda: "Up, except bad-0: quarantined (see logs/bad-0.err.log)" in env.output.read_text(), "the summary")


# SIGHUP


def test_sighup_changes_what_changed_and_nothing_else(env: SupervisionEnv) -> None:
    env.rows(API, {"name": "meta", "pool_size": 20}).start().ready("api-0", "api-1", "meta-0")
    pids = {slot: env.pid(slot) for slot in ("api-0", "api-1", "meta-0")}
    del env.variables  # the running orchestrator has its own copy; what changes, changes in the file
    (env.home / "settings.env").write_text(
        f"DATABASE_POOL_META_MAX=5\nAPI_INSTANCES=3\nSEND_ATTEMPTS={Settings().send_attempts}\n"
    )
    env.orchestrator.send_signal(signal.SIGHUP)
    env.ready("api-2", "meta-0", after=env.wait(Happened.DRAINED, "meta-0", purpose="settings changed").seq)
    assert {slot: env.pid(slot) for slot in ("api-0", "api-1")} == {slot: pids[slot] for slot in ("api-0", "api-1")}
    (env.home / "settings.env").write_text("API_INSTANCES=1\nDATABASE_POOL_META_MAX=5\n")
    env.orchestrator.send_signal(signal.SIGHUP)
    env.until(lambda: set(env.status()["slots"]) == {"api-0", "meta-0"}, "two slots fewer")
    assert env.pid("api-0") == pids["api-0"] and env.count(Happened.EXITED, "meta-0") == 1


def test_wrong_settings_at_sighup_change_nothing(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0", "api-1")
    (env.home / "settings.env").write_text("LOG_KEEP=no\n")
    env.orchestrator.send_signal(signal.SIGHUP)
    env.until(
        lambda: "settings not reloaded: LOG_KEEP='no' is not a whole number" in env.output.read_text(), "the refusal"
    )
    assert env.status()["slots"]["api-0"]["state"] == "ready" and env.count(Happened.EXITED) == 0
    with pytest.raises(control_client.OrchestratorRefused, match="LOG_KEEP"):
        control_client.ask(runtime.control_socket(env.home), {"command": "reload"})


# the control socket, held wrong


def test_nonsense_on_the_control_socket_does_no_harm(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0")
    path = str(runtime.control_socket(env.home))
    for nonsense in (
        b"\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"command": "fly"}\n',
        b'{"command": "restart", "target": 7}\n',
        b"{" * 70_000,
    ):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(deadline_s(9))
            line.connect(path)
            line.sendall(nonsense)
            line.shutdown(socket.SHUT_WR)
            answer = line.makefile("rb").read()
        assert not answer or json.loads(answer)["ok"] is False
    assert env.status()["slots"]["api-0"]["state"] == "ready"


def test_silent_clients_are_dropped_and_delay_no_other(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0")
    idle = [socket.socket(socket.AF_UNIX) for _ in range(70)]
    try:
        for line in idle:
            line.settimeout(deadline_s(9))
            line.connect(str(runtime.control_socket(env.home)))
        assert idle[0].recv(1) == b"", "dropped in time, which the socket's own limit holds"
        assert env.status()["slots"]["api-0"]["state"] == "ready"
    finally:
        for line in idle:
            line.close()


def test_sockets_and_files_are_for_us_alone(env: SupervisionEnv) -> None:
    env.rows(API).start().ready("api-0")
    with env.standing_still():  # it writes its snapshot anew each second
        for path in [*env.home.rglob("*")]:
            if path.name not in ("output", "helpers"):
                assert path.lstat().st_mode & 0o066 == 0, path
    assert env.home.stat().st_uid == os.getuid()


def test_tables_align() -> None:
    lines = table.lines(("NAME", "N"), [("a", 1), ("long", None), ("", 22)])
    assert lines == ["NAME   N", "a      1", "long   -", "-     22"]
    assert table.age(None) == "-"


def test_tables_hold_nothing_that_a_terminal_obeys() -> None:
    lines = table.lines(("NAME", "N"), [("a\nb\x1b[31m\u202e", 1)])
    assert lines == ["NAME       N", "a\ufffdb\ufffd[31m\ufffd  1"]
