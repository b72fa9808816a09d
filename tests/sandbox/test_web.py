"""The phone behind the page, asked over HTTP as the page asks it, and the control API as testers use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.webdriver.env import Web

PHONE = "60111222333"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page and its phones."""
    started = Web(tmp_path / "sandbox")
    yield started
    started.stop()


class Page:
    """A page without a browser: its line and its questions."""

    def __init__(self, web: Web, lines: Iterator[bytes], device: str, credential: str) -> None:
        self._web, self._lines, self.device, self.credential = web, lines, device, credential

    def next(self, kind: str) -> dict[str, Any]:
        """Return the next event of a kind."""
        for line in self._lines:
            if line.startswith(b"data: "):
                event: dict[str, Any] = json.loads(line[6:])
                if event["type"] == kind:
                    return event
        raise AssertionError(f"the line ended without {kind}")

    def ask(self, what: str, **body: Any) -> Any:
        """Ask the phone."""
        return self._web.ask(f"/web/phone/{what}", {"device": self.device, "credential": self.credential, **body})

    def send(self, message_id: str = "true_60123456789@c.us_AA", body: str = "hello") -> Any:
        """Hand over a message."""
        return self.ask("send", id=message_id, chat=message_id.split("_")[1], body=body)


@contextmanager
def page(web: Web, device: str = "profile-1", credential: str = "") -> Iterator[Page]:
    """Open a page's line."""
    query = urlencode({"device": device, "credential": credential})
    with urlopen(f"http://127.0.0.1:{web.port}/web/phone/stream?{query}", timeout=10) as lines:
        yield Page(web, lines, device, credential)


@contextmanager
def linked(web: Web) -> Iterator[Page]:
    """Open a page's line and link it."""
    with page(web) as opened:
        code = opened.next("ref")["ref"] + ",static,identity,secret"
        assert web.ask("/control/web/scan", {"code": code, "phone": PHONE}) == {"device": "profile-1", "phone": PHONE}
        opened.credential = opened.next("linked")["credential"]
        assert opened.next("stream")["mode"] == "SYNCING"
        assert opened.next("stream")["mode"] == "MAIN"
        yield opened


def test_page_is_served_with_a_policy_as_strict_as_the_real_one(web: Web) -> None:
    with urlopen(web.url) as answer:
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    for asset in ("page.js", "wpp.js", "phone.js", "store.js", "shapes.js", "page.css"):
        with urlopen(f"{web.url}page/{asset}") as answer:
            assert answer.status == 200
    for missing in ("phones.py", "..%2F__init__.py", "nothing.js"):
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{web.url}page/{missing}")
    with urlopen(f"{web.url}qr.svg?code=2%40abc") as answer:
        assert answer.read().startswith(b"<?xml")


def test_message_stands_in_the_ledger_each_time_it_comes_and_is_acknowledged(web: Web) -> None:
    with linked(web) as here:
        assert here.send() == {"ack": 1, "result": "OK"}
        assert [here.next("ack")["ack"] for _ in range(2)] == [2, 3]
        assert here.send()["ack"] == 3
        assert [entry.fields["times"] for entry in web.arrived("hello")] == [1, 2]
        assert here.ask("sync", pending=["true_60123456789@c.us_AA", "true_60123456789@c.us_BB"]) == {
            "acks": {"true_60123456789@c.us_AA": 3}
        }


def test_a_restarted_sandbox_remembers_links_and_messages(web: Web) -> None:
    with linked(web) as here:
        here.send()
        credential = here.credential
    web.stop()
    web.start()
    with page(web, credential=credential) as again:
        assert again.next("stream")["mode"] == "SYNCING"
        assert again.next("stream")["mode"] == "MAIN"
        assert again.ask("sync", pending=["true_60123456789@c.us_AA"]) == {"acks": {"true_60123456789@c.us_AA": 1}}
        again.send()
        assert [entry.fields["times"] for entry in web.arrived()] == [1, 2]


def test_what_customers_write_waits_until_the_page_has_it(web: Web) -> None:
    with linked(web) as here:
        web.order(PHONE, "offline")
        assert here.next("stream")["mode"] == "OFFLINE"
        written = web.order(PHONE, "messages", {"from": "60123456787", "body": "hi"})["id"]
        assert here.send()["status"] == 503
        web.order(PHONE, "online")
        (message,) = here.next("messages")["messages"]
        assert (message["id"], message["body"]) == (written, "hi")
        assert message["chat"].endswith("@lid"), "this customer's number ends in 7"
        web.order(PHONE, "offline")
        web.order(PHONE, "online")
        assert len(here.next("messages")["messages"]) == 1, "not confirmed yet"
        here.ask("sync", received=[written])
        web.order(PHONE, "offline")
        web.order(PHONE, "online")
        assert here.next("messages")["messages"] == []


def test_second_page_of_a_profile_gets_the_first_into_conflict(web: Web) -> None:
    with linked(web) as here, page(web, credential=here.credential) as other:
        assert here.next("stream")["mode"] == "CONFLICT"
        assert other.next("stream")["mode"] == "SYNCING"


def test_links_end_by_logout_by_another_scan_and_for_unknown_credentials(web: Web) -> None:
    with linked(web) as here:
        with page(web, device="profile-2") as second:
            code = second.next("ref")["ref"]
            web.ask("/control/web/scan", {"code": code, "phone": PHONE})
            assert here.next("logout")["reason"] == "replaced"
            assert here.send()["status"] == 401
            web.order(PHONE, "logout")
            assert second.next("logout")["reason"] == "user_initiated"
        with page(web, device="profile-3", credential="made-up") as stranger:
            assert stranger.next("logout")


def test_pairing_code_links_too(web: Web) -> None:
    with page(web) as here:
        here.next("ref")
        code = here.ask("pair")["code"]
        assert len(code) == 8
        assert web.ask("/control/web/scan", {"code": code})["phone"].startswith("6011")
        assert here.next("linked")


def test_ordered_failures_hit_the_next_sends_only(web: Web) -> None:
    with linked(web) as here:
        web.order(PHONE, "faults", {"fail_sends": ["ERROR_NETWORK"]})
        assert here.send() == {"ack": -1, "result": "ERROR_NETWORK"}
        assert web.arrived() == []
        assert here.send()["result"] == "OK"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/control/web/scan", {"code": "2@old"}, 404, "code_expired"),
        ("/control/web/scan", {}, 404, "which_device"),
        ("/control/web/scan", {"device": "nobody"}, 404, "unknown_device"),
        ("/control/web/scan", {"device": "profile-1"}, 409, "already_linked"),
        ("/control/web/devices/nobody/offline", {}, 404, "unknown_device"),
        (f"/control/web/devices/{PHONE}/dance", {}, 404, "unknown_order"),
        (f"/control/web/devices/{PHONE}/mode", {"mode": "PARTY"}, 400, "unknown_mode"),
        (f"/control/web/devices/{PHONE}/faults", {"gremlins": 1}, 400, "unknown_fault"),
        (f"/control/web/devices/{PHONE}/faults", {"hold_after_s": "long"}, 400, "unknown_fault"),
        (f"/control/web/devices/{PHONE}/messages", {"from": "60123456789"}, 400, "missing_field"),
        (
            "/web/phone/send",
            {"device": "profile-1", "credential": "wrong", "id": "a", "chat": "b", "body": "c"},
            401,
            "unknown_companion_device_no_key",
        ),
    ],
)
def test_wrong_orders_are_refused_with_a_reason(
    web: Web, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    with linked(web):
        refused = web.ask(path, body)
        assert (refused["status"], refused["code"]) == (status, code)
        assert refused["detail"]


def test_devices_are_listed(web: Web) -> None:
    with linked(web):
        (device,) = web.ask("/control/web/devices")["devices"]
        assert (device["device"], device["phone"], device["mode"], device["open"]) == ("profile-1", PHONE, "MAIN", True)
