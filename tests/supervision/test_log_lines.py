"""Logs of several processes in the order of time: read from the end, followed, across rotation."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from supervision.commands.log_lines import LogFile, files_in, is_shown, last, merged
from tests.supervision.env import PROGRAM, SupervisionEnv
from tests.support import environment
from tests.support.waiting import deadline_s


def ours(second: int, event: str, level: str = "info") -> str:
    return f'{{"at": "2026-12-01T09:00:{second:02}.000Z", "level": "{level}", "event": "{event}"}}\n'


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "api-0.out.log").write_text(ours(1, "a") + ours(4, "d"))
    (tmp_path / "api-0.err.log").write_text(ours(3, "c", "error") + "Traceback\n  line\n" + ours(6, "f", "warning"))
    (tmp_path / "meta-0.out.log").write_text(ours(2, "b") + ours(5, "e"))
    (tmp_path / "postgres-0.err.log").write_text("2026-12-01 09:00:05.500 UTC [7] FATAL:  no\nDETAIL\n")
    return tmp_path


def shown(path: Path, *names: str) -> list[str]:
    return [line.text for line in merged(files_in(path, names, ("out", "err"), rotated=False))]


def test_lines_of_all_files_stand_in_the_order_of_time(logs: Path) -> None:
    texts = [text.partition('"event": ')[2] or text for text in shown(logs)]
    assert [text[:12] for text in texts] == [
        '"a"}',
        '"b"}',
        '"c"}',
        "Traceback",
        "  line",
        '"d"}',
        '"e"}',
        "2026-12-01 0",
        "DETAIL",
        '"f"}',
    ]
    assert len(shown(logs, "meta-0")) == 2


def test_levels_and_instants_choose_with_what_belongs_to_a_line(logs: Path) -> None:
    lines = list(merged(files_in(logs, (), ("out", "err"), rotated=False)))
    errors = [line.text[:9] for line in lines if is_shown(line, level="error", since=None)]
    assert errors == ['{"at": "2', "Traceback", "  line", "2026-12-0", "DETAIL"]
    since = datetime(2026, 12, 1, 9, 0, 5, tzinfo=UTC)
    assert len([line for line in lines if is_shown(line, level="debug", since=since)]) == 4
    assert [line.source for line in last(iter(lines), 2, level="debug", since=None)] == ["postgres-0.err", "api-0.err"]


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_only_the_end_of_a_file_is_read(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervision.commands.log_lines._CHUNK", 7)
    path = tmp_path / "api-0.out.log"
    path.write_text("".join(f"line {number}\n" for number in range(20)))
    file = LogFile(path)
    file.skip_to_last(most)
    assert [line.text for line in file.lines()] == [f"line {number}" for number in range(max(0, 20 - most), 20)]


def test_what_is_written_later_is_read_on_also_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "api-0.out.log"
    path.write_text("one\ntw")
    file = LogFile(path)
    assert [line.text for line in file.lines()] == ["one"]
    with path.open("a") as opened:
        opened.write("o\n")
    assert [line.text for line in file.lines()] == ["two"]
    path.write_text("x\n")
    assert [line.text for line in file.lines()] == ["x"]
    path.unlink()
    assert list(file.lines()) == []


def test_older_generations_belong_to_a_span_of_time(tmp_path: Path) -> None:
    (tmp_path / "api-0.out.log.1").write_text(ours(1, "old"))
    (tmp_path / "api-0.out.log").write_text(ours(2, "new"))
    files = files_in(tmp_path, (), ("out",), rotated=True)
    assert ["old" in line.text for line in merged(files)] == [True, False]
    assert {file.source for file in files} == {"api-0.out"}
    assert len(files_in(tmp_path, (), ("out",), rotated=False)) == 1


def test_everything_is_followed_with_processes_that_start_meanwhile(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    follower = subprocess.Popen(
        [sys.executable, str(PROGRAM), "logs", "-f"],
        env=environment.clean(**env.variables),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert follower.stdout is not None
    try:
        while "api-0.out: born" not in follower.stdout.readline():
            pass
        (env.home / "logs" / "late-0.err.log").write_text(ours(1, "late", "error"))
        while "late-0.err: " not in follower.stdout.readline():
            pass
    finally:
        follower.terminate()
        follower.wait(deadline_s(10))
        follower.stdout.close()
