"""`bulkhead sessions`, over an entry file that answers what the test says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.process.exit_codes import ExitCode
from tests.support import environment

ENTRY = """
import http.client, json, sys
for line in sys.stdin:
    asked = json.loads(line)
    server = http.client.HTTPConnection("127.0.0.1", PORT)
    body = None if asked["body"] is None else json.dumps(asked["body"])
    server.request(asked["method"], asked["path"], body)
    answer = server.getresponse()
    print(json.dumps({"status": answer.status, "body": answer.read().decode()}), flush=True)
"""
"""In place of the API's entry file: hands the requests on to the test."""
RUN = """
import os, sys
from pathlib import Path
from embedded import addresses
from shared.kinds import KINDS
from supervision.commands.context import Context
from supervision.commands.entry import main
from supervision.decisions.restart_policy import Policy
context = Context(environ=os.environ, rows=KINDS, entries=Path(sys.argv[1]), embedded=addresses, policy=Policy())
sys.exit(main(sys.argv[2:], context))
"""
ONE = {
    "phoneIndex": 1,
    "desired": "linked",
    "state": "ready",
    "provedAt": None,
    "detail": None,
    "browser": {"pssMb": 140.4, "cpu": 0.05},
    "qr": None,
}


class Api:
    """Answers each request by a function of method and path, and remembers what was asked."""

    def __init__(self, answer: Callable[[str, str], tuple[int, Any]]) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api.asked.append((self.command, self.path, json.loads(body) if body else None))
                status, expected = answer(self.command, self.path)
                data = expected.encode() if isinstance(expected, str) else json.dumps(expected).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api() -> Iterator[Callable[[Callable[[str, str], tuple[int, Any]]], Api]]:
    """Make APIs that end with the test."""
    made: list[Api] = []

    def make(answer: Callable[[str, str], tuple[int, Any]]) -> Api:
        made.append(Api(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(home: Path, port: int, *words: str, entry: str = ENTRY) -> tuple[int, str, str]:
    """Run the command and return its exit code, output and errors."""
    entries = home / "entries"
    entries.mkdir(parents=True, exist_ok=True)
    (entries / "proc_api.py").write_text(entry.replace("PORT", str(port)))
    variables = {
        "bulkhead_home": home,
        "redis_url": "redis://127.0.0.1:1",
        "database_url": "postgresql://x@127.0.0.1:1/x",
    }
    command = [sys.executable, "-c", RUN, str(entries), "sessions", *words]
    done = subprocess.run(
        command,
        cwd=environment.REPOSITORY,
        env=environment.clean(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_list(home: Path, api: Any) -> None:
    server = api(lambda method, path: (200, {"companyId": "demo", "sessions": [ONE]}))
    code, said, _ = ask(home, server.port, "list")
    assert code == ExitCode.OK
    assert said.splitlines()[1].split() == ["1", "linked", "ready", "-", "140", "0.05", "-"]
    assert json.loads(ask(home, server.port, "list", "--json", "--company", "a b")[1]) == ONE
    assert [path for _, path, _ in server.asked] == ["/api/v2/sessions/demo", "/api/v2/sessions/a%20b"]


def test_a_code_is_drawn_until_it_was_scanned(home: Path, api: Any) -> None:
    looks = iter(
        [
            {**ONE, "state": "starting"},
            {**ONE, "state": "needs_link", "qr": "2@x"},
            {**ONE, "state": "needs_link", "qr": "2@x"},
            ONE,
        ]
    )

    def answer(method: str, path: str) -> tuple[int, Any]:
        if path.endswith("format=txt"):
            return 200, "▀▄"
        return (202, ONE) if method == "POST" else (200, next(looks))

    server = api(answer)
    code, said, _ = ask(home, server.port, "link", "1")
    assert code == ExitCode.OK
    assert said.count("▀▄") == 1, "a picture that has not changed is not drawn again"
    assert said.endswith("Linked: the session is ready.\n")
    assert server.asked[0] == ("POST", "/api/v2/sessions/demo/1", {"desired": "linked"})


def test_a_session_that_is_never_linked(home: Path, api: Any) -> None:
    server = api(lambda method, path: (200, {**ONE, "state": "backing_off", "detail": "no Chromium"}))
    code, _, errors = ask(home, server.port, "link", "1", "--within", "0.5")
    assert (code, errors) == (1, "not linked within 0 s; the session is backing_off: no Chromium\n")


@pytest.mark.parametrize(
    ("words", "asked", "expected"),
    [
        (
            ("restart", "1"),
            ("POST", "/api/v2/sessions/demo/1/restart", None),
            ((200, {"status": "done"}), "Restarted."),
        ),
        (
            ("wipe", "1"),
            ("POST", "/api/v2/sessions/demo/1/wipe", None),
            ((202, {"status": "queued"}), "has not done it yet"),
        ),
        (("logout", "1"), ("POST", "/api/v2/sessions/demo/1/logout", None), ((202, ONE), "It will be logged out.")),
        (
            ("pair", "1", "--phone", "60123456789"),
            ("POST", "/api/v2/sessions/demo/1/pairing-code", {"phone": "60123456789"}),
            ((200, {"status": "done", "result": {"code": "ABCD1234"}}), "Type ABCD1234 into the phone"),
        ),
    ],
)
def test_actions(
    home: Path, api: Any, words: tuple[str, ...], asked: Any, expected: tuple[tuple[int, Any], str]
) -> None:
    answer, said = expected
    server = api(lambda method, path: answer)
    code, output, _ = ask(home, server.port, *words)
    assert code == ExitCode.OK
    assert said in output
    assert server.asked == [asked]


def test_what_cannot_be_done_is_said(home: Path, api: Any) -> None:
    server = api(lambda method, path: (404, {"detail": "The company has no connection with this index."}))
    assert ask(home, server.port, "restart", "9")[::2] == (
        ExitCode.USAGE,
        "The company has no connection with this index.\n",
    )
    assert ask(home, server.port, "restart")[0] == ExitCode.USAGE
    assert ask(home, server.port, "pair", "1")[0] == ExitCode.USAGE


def test_a_process_that_cannot_start_ends_the_command(home: Path) -> None:
    code, _, errors = ask(home, 1, "list", entry="import sys; sys.exit('API_KEY is wrong')")
    assert (code, errors) == (ExitCode.CRASH, "API_KEY is wrong\n")
