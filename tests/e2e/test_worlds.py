"""A home that ran in the sandbox and is started with a real provider's address: what waited for the sandbox never
leaves to that provider."""

from __future__ import annotations

import http.server
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tests.e2e.conversation import wait_state
from tests.support.bulkhead import Bulkhead


class Provider(http.server.BaseHTTPRequestHandler):
    """A provider that is not our sandbox."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        """Note what came, and refuse it."""
        self.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.send_error(400)

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


@contextmanager
def provider() -> Iterator[tuple[str, list[bytes]]]:
    """Yield its address and what was posted there."""
    bodies: list[bytes] = []
    handler = type("Handler", (Provider,), {"bodies": bodies})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/graph", bodies
        finally:
            server.shutdown()


def test_what_waited_for_the_sandbox_does_not_leave_to_a_provider(bulkhead: Callable[..., Bulkhead]) -> None:
    installation = (
        bulkhead(only="postgres,redis,recorder,api,meta,sandbox").start().wait_ready("recorder", "api", "meta")
    )
    answer = installation.api(
        "POST",
        "/api/v2/messages/text/demo/15550100200",
        json={
            "message": "for the sandbox",
            "phoneIndex": 0,
            "sendAt": (datetime.now(UTC) + timedelta(seconds=5)).isoformat(),
        },
    )
    assert answer.status_code == 202, answer.text
    assert installation.stop(signal.SIGINT) == 0
    with provider() as (address, bodies):
        again = (
            bulkhead(**{**installation.variables, "graph_base_url": address})
            .start()
            .wait_ready("recorder", "api", "meta")
        )
        shown = wait_state(again, answer.json()["id"], "failed")
        assert shown["error"] is not None
        assert (shown["error"]["code"], shown["attempt"]) == ("other_world", 0)
        refused = again.api("POST", f"/api/v2/messages/demo/15550100200/{answer.json()['id']}/redrive")
        assert refused.status_code == 409, refused.text
        assert not any(b"for the sandbox" in body for body in bodies)
        assert again.stop(signal.SIGINT) == 0
