"""`bulkhead chaos` as an operator runs it: an installation of its own, faults of all kinds, a result, and nothing left
behind.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.process.exit_codes import ExitCode
from tests.support import environment, processes
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

FAULTS, SEED = 30, 316
"""The schedule has at least one fault of each group: of processes, servers, the provider, others and subscribers."""


def chaos(*words: str, **variables: object) -> subprocess.Popen[str]:
    """Start `bulkhead chaos`."""
    return subprocess.Popen(
        [sys.executable, "orchestrator.py", "chaos", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*words: str, within_s: float = 30.0, **variables: str) -> tuple[int, str, str]:
    """Run it to its end and return exit code, output and complaints."""
    with chaos(*words, **variables) as process:
        try:
            out, err = process.communicate(timeout=within_s)
        finally:
            process.terminate()
    return process.returncode, out, err


@pytest.mark.timeout(460)
def test_faults_of_all_kinds_and_a_clean_result(tmp_path: Path) -> None:
    """Two companies, every type of message, subscribers good and bad, and others that report about our rows, while
    processes and servers die, also at crash points. What each group of faults needs longer for has a longer run below.
    """
    report = tmp_path / "result.json"
    words = ["--plan", "adverse", "--faults", str(FAULTS), "--rate", "2", "--load", "20", "--chats", "8"]
    words += ["--seed", str(SEED), "--crash-points", "0.0003", "--settle", "300"]
    code, out, err = finished(*words, "--report", str(report), within_s=420.0)
    assert code == 0, out + err
    assert out.endswith("result: clean\n")
    result = json.loads(report.read_text())
    assert result["clean"] and result["settled"]
    done = result["faults"]["done"]
    assert sum(done.values()) + sum(result["faults"]["left_out"].values()) == FAULTS
    named = {"second_installation", "other_tenant", "repeated_failure", "kill_hooks", "subscriber_rotated"}
    assert named <= set(done), out
    assert len(result["faults"]["at_subscribers"]) >= 8, "bad answers of many kinds"
    # what is cancelled, or refused by the provider, does not arrive
    assert result["accepted"] > 100
    assert (result["lost"], result["duplicated"], result["reordered"]) == ({}, {}, {})
    assert result["hooks"]["events"] > 500
    assert any(name.startswith("redriven") for name in result["followed_up"])
    lines = err.splitlines()
    assert any(f"{FAULTS}/{FAULTS} faults" in line for line in lines), "no terminal: plain lines"
    assert "\r" not in err


@pytest.mark.long
@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("everything", ["--faults", "25", "--rate", "2", "--load", "25", "--chats", "8", "--crash-points", "0.0003"]),
        ("outsiders", ["--faults", "16", "--rate", "1.6", "--load", "20", "--chats", "10"]),
        ("hooks", ["--faults", "14", "--rate", "1.2", "--load", "15", "--chats", "5"]),
        ("reboot", ["--faults", "2", "--load", "20", "--chats", "8"]),
        ("doors", ["--faults", "12", "--rate", "0.4", "--load", "30", "--chats", "12"]),
        ("crowd", ["--faults", "6", "--rate", "0.5", "--load", "20", "--chats", "10"]),
        ("tenants", ["--faults", "5", "--load", "20", "--chats", "10"]),
        ("late", ["--faults", "12", "--rate", "0.5", "--load", "10", "--chats", "10", "--policy", "hold"]),
        ("relink", ["--browser", "--faults", "2", "--rate", "0.1", "--load", "8", "--chats", "3"]),
    ],
)
def test_each_cause_of_loss_and_doubling_is_survived(plan: str, words: list[str], tmp_path: Path) -> None:
    """The plans that the faults of the past were found by; docs/chaos.md has what each found."""
    report = tmp_path / "result.json"
    code, out, err = finished(
        "--plan", plan, *words, "--seed", "3", "--settle", "240", "--report", str(report), within_s=460.0
    )
    assert code == 0, out + err
    done = json.loads(report.read_text())["faults"]["done"]
    assert done.keys() - {"cut_after", "error_after_accept"}, out


@pytest.mark.long
@pytest.mark.timeout(420)
def test_two_thousand_faults_lose_double_and_reorder_nothing(tmp_path: Path) -> None:
    """Mostly the provider's, which cost nothing to do: each send that one befell counts, and is one of the messages
    that are judged.
    """
    result_file = tmp_path / "result.json"
    words = [
        "--plan",
        "many",
        "--faults",
        "700",
        "--rate",
        "14",
        "--load",
        "100",
        "--chats",
        "60",
        "--seed",
        "2",
        "--settle",
        "240",
    ]
    code, out, err = finished(*words, "--report", str(result_file), within_s=400.0)
    assert code == 0, out + err
    result = json.loads(result_file.read_text())
    assert result["faults"]["all"] >= 2000, out
    assert (result["lost"], result["duplicated"], result["reordered"]) == ({}, {}, {})
    assert result["arrived"] >= result["accepted"] > 1000


def test_it_can_be_stopped_at_any_time_and_leaves_nothing() -> None:
    with chaos("--faults", "100", "--rate", "1") as process:
        assert process.stderr is not None
        home = Path(process.stderr.readline().split()[-1])
        eventually((home / "logs" / "api-0.out.log").exists, 60.0, "its installation starts")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert not home.exists()
    assert not processes.of_home(home)


def test_a_copy_that_does_not_say_chaos_is_not_touched(bulkhead: Callable[..., Bulkhead]) -> None:
    installation = bulkhead(only="sandbox").start().wait_ready("sandbox")
    before = installation.pids()
    code, _, err = finished(
        "--home", str(installation.home), "--faults", "5", api_key=installation.settings.api_key, chaos="on"
    )
    assert code == 1
    assert "runs without CHAOS=on" in err
    assert installation.pids() == before


def test_a_home_without_a_copy(home: Path) -> None:
    code, _, err = finished("--home", str(home), chaos="on")
    assert code == 1
    assert f"no installation runs in {home}" in err


def test_the_schedule_is_shown_and_nothing_done() -> None:
    code, out, err = finished("--plan", "storage", "--faults", "3", "--seed", "9", "--show-plan")
    assert (code, err) == (0, "")
    steps = json.loads(out)
    assert len(steps) == 3
    assert all(step["words"] for step in steps)
    assert finished("--plan", "storage", "--faults", "3", "--seed", "9", "--show-plan")[1] == out


def test_a_wrong_word_is_a_usage_error() -> None:
    code, out, err = finished("--plan", "nothing")
    assert code == ExitCode.USAGE
    assert not out
    assert "--plan" in err
