"""Benchmarks run, for seconds, and say what they promise to say; those marked `long` in `script/test long` alone. No
figure is judged here: the machine may be busy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.figures import Figures, quantile, show, spread_ms
from bench.memory import slope
from tests.support import environment, processes
from tests.support.waiting import eventually

WITHIN_S = 100


def bench(command: str, tmp_path: Path) -> dict[str, Any]:
    """Run one command as a user would and return its figures."""
    kept = tmp_path / f"{command}.json"
    # the suite's own servers run beside it, and PostgreSQL's helpers come and go
    before = processes.living_descendants()

    def left() -> dict[int, str]:
        return {
            pid: name
            for pid, name in processes.living_descendants().items()
            if pid not in before and not name.startswith("postgres:")
        }

    done = subprocess.run(
        [sys.executable, "-m", "bench", command, "--quick", "--json", str(kept)],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # what left its parent's group in the run has been asked to end by then
    eventually(lambda: not left(), 10, lambda: f"nothing is left behind: {left()}")
    reported: dict[str, Any] = json.loads(kept.read_text())
    assert reported["command"] == command
    assert {"cpus", "load_average"} <= reported["machine"].keys()
    assert done.stdout.startswith(command)
    figures: dict[str, Any] = reported["figures"]
    return figures


def assert_nothing_lost(outcome: dict[str, int]) -> None:
    assert outcome["accepted"] > 0
    assert (outcome["lost"], outcome["duplicated"]) == (0, 0)


def test_throughput(tmp_path: Path) -> None:
    (figures,) = bench("throughput", tmp_path).values()
    assert figures["sent a second"] > 0
    assert {"api", "meta", "postgres", "redis", "sandbox", "generator", "all"} <= figures["CPU µs a message"].keys()
    assert_nothing_lost(figures["outcome in the ledger"])


def test_turns(tmp_path: Path) -> None:
    figures = bench("turns", tmp_path)
    assert figures["kills"] == 3 and figures["questions"] > 0
    assert figures["answered once"] == figures["questions"], figures
    assert figures["money still reserved"] == 0


@pytest.mark.long
def test_index(tmp_path: Path) -> None:
    figures = bench("index", tmp_path)
    assert figures["kills"] == 3 and figures["indexed"] > 0, figures
    wrong = ("lost", "indexed twice", "passages missing", "passages doubled", "vectors missing")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0), figures
    assert figures["after a new index of what was given up"] == {"indexed": figures["documents"]}


def test_retrieval(tmp_path: Path) -> None:
    figures = bench("retrieval", tmp_path)
    # the company with three passages gets its three, whichever way they are searched
    assert set(figures["three of three"].values()) == {"46 of 46"}, figures
    for company in ("medium", "large"):
        assert figures[company]["both, weighted"]["recall@5"] > 0.5, figures
        assert figures[company]["both, weighted"]["p95 ms"] > 0
        signs, exactly = (figures[company][f"vectors, {way}"]["recall@5"] for way in ("by signs", "exactly"))
        assert signs >= 0.95 * exactly, figures


@pytest.mark.long
def test_latency(tmp_path: Path) -> None:
    for figures in bench("latency", tmp_path).values():
        assert 0 < figures["due to 202"]["p50_ms"] <= figures["due to 202"]["p99_ms"]
        assert figures["due to provider"]["n"] == figures["outcome in the ledger"]["accepted"]
        assert_nothing_lost(figures["outcome in the ledger"])


@pytest.mark.long
def test_compare(tmp_path: Path) -> None:
    figures = bench("compare", tmp_path)
    assert {"bulkhead 1", "express 1"} < figures.keys()
    for name in ("bulkhead 1", "express 1"):
        assert figures[name]["own parts"] > 0
        assert figures[name]["outcome in the ledger"]["accepted"] > 0
    assert_nothing_lost(figures["bulkhead 1"]["outcome in the ledger"])


@pytest.mark.long
def test_recovery(tmp_path: Path) -> None:
    figures = bench("recovery", tmp_path)
    assert figures["kills"] == 1
    assert (
        figures["kill -9 to resolved, each message"]["n"] + figures["held for a human"] == figures["messages in hand"]
    )
    assert_nothing_lost(figures["outcome in the ledger"])


@pytest.mark.long
def test_isolation(tmp_path: Path) -> None:
    figures = bench("isolation", tmp_path)
    assert figures["p99 due to provider, ratio to calm"].keys() == {
        "webdriver killed in a loop",
        "webdriver's CPU burnt",
    }
    for outcome in figures["outcome in the ledger"].values():
        assert_nothing_lost(outcome)


@pytest.mark.long
def test_bystander(tmp_path: Path) -> None:
    figures = bench("bystander", tmp_path)
    assert figures["p99 due to 202, ratio to calm"].keys() == {
        "another company's flood",
        "big bodies",
        "idle connections",
        "another company's number never answers",
    }
    for outcome in figures["outcome in the ledger"].values():
        assert_nothing_lost(outcome)


@pytest.mark.long
def test_hooks(tmp_path: Path) -> None:
    figures = bench("hooks", tmp_path)
    backlog = figures["5 subscribers, of a backlog"]
    assert backlog["deliveries"] >= 200
    assert backlog["deliveries a second"] > 0
    assert figures["p99 due to 202, ratio to calm"].keys() == {"5 subscribers"}
    for outcome in figures["outcome in the ledger"].values():
        assert_nothing_lost(outcome)


@pytest.mark.long
def test_guards(tmp_path: Path) -> None:
    figures = bench("guards", tmp_path)
    for outcome in figures.pop("outcome in the ledger").values():
        assert_nothing_lost(outcome)
    costs = {name: cost for name, cost in figures.items() if name.startswith("cost of ")}
    assert len(costs) == 3
    assert all({"all", "api", "meta", "postgres", "recorder"} <= cost.keys() for cost in costs.values())


@pytest.mark.long
def test_contacts(tmp_path: Path) -> None:
    figures = bench("contacts", tmp_path)
    assert_nothing_lost(figures["messages before"])
    assert figures["new contacts"]["created"] == figures["the same file again"]["unchanged"] == 2000
    assert_nothing_lost(figures["the same file again"]["messages meanwhile"])


@pytest.mark.long
def test_memory(tmp_path: Path) -> None:
    figures = bench("memory", tmp_path)
    assert_nothing_lost(figures.pop("outcome in the ledger"))
    assert {
        "orchestrator",
        "api-0",
        "api-1",
        "meta-0",
        "meta-1",
        "recorder-0",
        "sandbox-0",
        "postgres-0",
        "redis-0",
    } <= figures.keys()
    assert all(row["first MB"] > 0 for row in figures.values())


@pytest.mark.long
def test_ingress(tmp_path: Path) -> None:
    for figures in bench("ingress", tmp_path).values():
        assert figures["lost or doubled"] == 0
        assert figures["answers"].keys() == {"200"}
        assert 0 < figures["due to answer"]["p50_ms"] <= figures["due to answer"]["p99_ms"]


class TestFigures:
    def test_quantiles(self) -> None:
        ordered = [float(number) for number in range(1, 101)]
        assert (quantile(ordered, 0.5), quantile(ordered, 0.99), quantile(ordered, 1.0)) == (51.0, 100.0, 100.0)
        assert spread_ms([0.003, 0.001, 0.002]) == {"p50_ms": 2.0, "p90_ms": 3.0, "p99_ms": 3.0, "max_ms": 3.0, "n": 3}

    @pytest.mark.parametrize(
        ("points", "found"), [([], 0.0), ([(1.0, 5.0)], 0.0), ([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)], 2.0)]
    )
    def test_slope(self, points: list[tuple[float, float]], found: float) -> None:
        assert slope(points) == pytest.approx(found)

    def test_the_table_is_aligned(self) -> None:
        figures = Figures(command="x", parameters={"n": 1}, values={"a": 1234567, "long name": {"b": 2.5}})
        assert show(figures).splitlines() == [
            "x  (n 1)",
            "  a                 1,234,567",
            "  long name · b           2.5",
        ]


def test_all_leaves_a_table_and_figures_for_each(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "all", "--quick", "--only", "queue", "--into", str(tmp_path / "results")],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "queue: done in" in done.stdout
    assert (tmp_path / "results" / "queue.txt").read_text().startswith("queue")
    reported = json.loads((tmp_path / "results" / "queue.json").read_text())
    assert reported["command"] == "queue"
    figures = reported["figures"]
    assert 0 < figures["our hint worker"]["round trips a job"] < figures["rq SimpleWorker"]["round trips a job"]
    assert figures["rq Worker"]["jobs a second"] > 0


@pytest.mark.long
def test_move(tmp_path: Path) -> None:
    figures = bench("move", tmp_path)
    wrong = ("lost", "doubled", "never asked for", "out of order", "arrived although reported as failed")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0), figures
    assert {"old", "new"} == figures["accepted by"].keys()
    assert [*figures["differences that the shadow found"]] == [
        "POST /api/v2/messages/text/…/not-a-chat: accepted there, refused here"
    ]
