"""A newcomer's first minutes: one message through each connection type, a picture to scan, a second start, a third one
after kill -9 of everything, and nothing left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.e2e.conversation import CHANNELS, arrived_texts, link, send, wait_session, wait_state
from tests.support.bulkhead import Bulkhead


def test_a_message_through_each_connection_arrives_once_and_the_session_survives_restarts(
    bulkhead: Callable[..., Bulkhead],
) -> None:
    installation = bulkhead(first_start=True).start().wait_ready()
    link(installation)
    picture = installation.api("GET", "/api/v2/sessions/demo/1/qr")
    assert picture.status_code == 404, "a linked session shows no code"

    sent = {index: send(installation, f"hello by {name}", phone_index=index) for index, name in CHANNELS.items()}
    for index, message_id in sent.items():
        shown = wait_state(installation, message_id, "delivered", "read")
        assert shown["connectionType"] == CHANNELS[index]
        steps = [step["state"] for step in shown["history"]]
        assert steps[:2] == ["queued", "sending"]
        assert "sent" in steps
        assert shown["attempt"] == 1
    assert arrived_texts(installation) == {f"hello by {name}": 1 for name in CHANNELS.values()}
    assert installation.stop(signal.SIGINT) == 0

    again = bulkhead(**installation.variables).start().wait_ready()
    wait_session(again, "ready")
    wait_state(again, send(again, "still linked", phone_index=1), "delivered", "read")
    assert arrived_texts(again)["still linked"] == 1

    killed = again.kill_everything()
    assert killed
    last = bulkhead(**installation.variables).start().wait_ready()
    assert not killed & set(last.alive())
    wait_session(last, "ready")
    wait_state(last, send(last, "after the flood"), "delivered", "read")
    assert last.stop() == 0
