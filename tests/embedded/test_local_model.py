"""A model's own server: kept running by the operator's command, ready when it says so, and never left behind."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from embedded.failure import ServerUnusable
from embedded.local_model import prepare, probe
from embedded.server import ProbeResult
from shared.kinds import kind_named
from shared.needs import need_of
from shared.process.exit_codes import ExitCode
from shared.settings import load
from tests.support import ports
from tests.support.entry import Entry
from tests.support.waiting import deadline_s, eventually

_SERVER = """
import http.server, os, pathlib, sys

class Model(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        # it reads its model until the file is there
        self.send_response(200 if pathlib.Path(sys.argv[2]).exists() else 503)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
"""


class ModelEntry(Entry):
    """The process. `url`: where its server is."""

    url: str


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


@pytest.fixture
def entry(home: Path, loaded: Path) -> Iterator[ModelEntry]:
    (port,) = ports.free_ports(1)
    command = shlex.join([sys.executable, "-c", _SERVER, str(port), str(loaded)])
    url = f"http://127.0.0.1:{port}"
    with ModelEntry(
        "model", home, local_model_command=command, local_model_url=url, openai_api_key="top secret"
    ) as opened:
        opened.url = url
        yield opened


def test_it_is_ready_when_its_model_is_loaded_and_knows_no_secret(entry: ModelEntry, loaded: Path) -> None:
    entry.start()
    (server,) = eventually(entry.descendants, 20, "the command runs")
    eventually(lambda: probe(entry.url) is ProbeResult.NOT_YET, 20, "it reads its model")
    assert "READY" not in str(entry.listen())
    assert "top secret" not in str(psutil.Process(server).environ())
    loaded.touch()
    entry.wait_ready()
    assert probe(entry.url) is ProbeResult.READY
    assert entry.stop() == ExitCode.OK
    assert not psutil.pid_exists(server) and probe(entry.url) is ProbeResult.SILENT


def test_its_end_is_the_end_of_the_process_which_is_started_again(entry: ModelEntry, loaded: Path) -> None:
    loaded.touch()
    entry.start().wait_ready()
    (server,) = entry.descendants()
    os.kill(server, signal.SIGKILL)
    assert entry.process.wait(deadline_s(20)) != ExitCode.OK
    # as the orchestrator does
    entry.start().wait_ready()
    entry.stop()


@pytest.mark.parametrize("command", ["", "no-such-program --port 1", "unclosed '"])
def test_what_is_no_command_waits_for_other_settings(command: str, home: Path) -> None:
    settings = load({"BULKHEAD_HOME": str(home), "LOCAL_MODEL_COMMAND": command})
    with pytest.raises(ServerUnusable, match="LOCAL_MODEL_COMMAND"):
        prepare(settings, {})


def test_it_runs_only_with_a_command() -> None:
    allowed = need_of(kind_named("model")).allowed
    assert not allowed(load({})) and allowed(load({"LOCAL_MODEL_COMMAND": "llama-server"}))
