"""The way to a real account (docs/connect-meta.md), followed literally: every command of the page as it stands there,
against a stand-in for Meta that is not the sandbox and shares nothing with it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.support import environment
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

PAGE = environment.REPOSITORY / "docs" / "connect-meta.md"
APP, SECRET, PHONE, ACCOUNT = (
    "300000000000009",
    "0123456789abcdef0123456789abcdef",
    "106540352242922",
    "102290129340398",
)
TOKEN = "EAAtokenofasystemuser"
CUSTOMER = "15550100200"
VERSION = re.compile(r"^/v\d+\.\d+")


class Meta:
    """As much of the Graph API as the page needs, by Meta's documents."""

    def __init__(self, webhook: str) -> None:
        self.webhook, self.subscribed, self.sent = webhook, False, list[dict[str, Any]]()
        meta = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = meta.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any]:
        """Return status and body for one request."""
        path = VERSION.sub("", urlsplit(target).path)
        if path == "/debug_token":
            is_ours = authorization == f"Bearer {APP}|{SECRET}"
            (token,) = parse_qs(urlsplit(target).query)["input_token"]
            valid = is_ours and token == TOKEN
            return 200, {"data": {"app_id": APP, "type": "SYSTEM_USER", "is_valid": valid, "expires_at": 0}}
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": {"message": "Invalid OAuth access token", "type": "OAuthException", "code": 190}}
        if method == "GET":
            return 200, self._shown(path)
        if (method, path) == ("POST", f"/{ACCOUNT}/subscribed_apps"):
            self.subscribed = True
            return 200, {"success": True}
        if (method, path) == ("POST", f"/{PHONE}/messages"):
            return 200, self._take(json.loads(body))
        return 400, {"error": {"message": f"Unsupported request {method} {path}", "code": 100}}

    def _shown(self, path: str) -> Any:
        if path == f"/{PHONE}":
            return {
                "id": PHONE,
                "display_phone_number": "+1 555-010-0111",
                "verified_name": "The shop",
                "quality_rating": "GREEN",
                "messaging_limit_tier": "TIER_1K",
                "code_verification_status": "VERIFIED",
                "status": "CONNECTED",
                "platform_type": "CLOUD_API",
            }
        assert path == f"/{ACCOUNT}/subscribed_apps", path
        ours = [{"whatsapp_business_api_data": {"id": APP, "name": "Bulkhead"}}]
        return {"data": ours if self.subscribed else []}

    def _take(self, message: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(message)
        wamid = f"wamid.{len(self.sent)}"
        known = {"id": wamid, "recipient_id": CUSTOMER, "timestamp": str(int(time.time()))}
        if "biz_opaque_callback_data" in message:
            known["biz_opaque_callback_data"] = message["biz_opaque_callback_data"]
        for status in ("sent", "delivered"):
            threading.Thread(target=self._post, args=({"statuses": [known | {"status": status}]},), daemon=True).start()
        return {
            "messaging_product": "whatsapp",
            "contacts": [{"input": message["to"], "wa_id": CUSTOMER}],
            "messages": [{"id": wamid}],
        }

    def customer_writes(self, text: str) -> None:
        """Deliver a customer's text."""
        self._post(
            {
                "contacts": [{"profile": {"name": "Ada"}, "wa_id": CUSTOMER}],
                "messages": [
                    {
                        "from": CUSTOMER,
                        "id": "wamid.customer.1",
                        "timestamp": str(int(time.time())),
                        "type": "text",
                        "text": {"body": text},
                    }
                ],
            }
        )

    def _post(self, value: dict[str, Any]) -> None:
        """Post a webhook as Meta does: only to subscribed apps, and signed."""
        assert self.subscribed
        metadata = {"display_phone_number": "15550100111", "phone_number_id": PHONE}
        change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
        body = json.dumps(
            {"object": "whatsapp_business_account", "entry": [{"id": ACCOUNT, "changes": [change]}]}
        ).encode()
        signature = "sha256=" + hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
        requests.post(
            f"{self.webhook}/api/meta/webhook", body, headers={"X-Hub-Signature-256": signature}, timeout=10
        ).raise_for_status()


def steps() -> list[str]:
    """The page's commands, one text for each block."""
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_every_step_of_the_page_works_as_it_stands_there(home: Path, bulkhead: Callable[..., Bulkhead]) -> None:
    program = bulkhead(sandbox="off", only="api,meta,recorder,postgres,redis")
    meta = Meta(f"http://127.0.0.1:{program.settings.port('meta')}")
    blocks = steps()
    assert len(blocks) == 9

    # the folder that the page stands in: `bulkhead` is the program, `var` its home; addresses lead to this machine
    (home / "bin").mkdir()
    shim = home / "bin" / "bulkhead"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} {environment.REPOSITORY / "orchestrator.py"} "$@"\n')
    shim.chmod(0o700)
    work = home / "work"
    work.mkdir()
    (work / "var").symlink_to(home)
    (work / "token.txt").write_text(TOKEN)
    variables = {name: value for name, value in program.variables.items() if name not in ("SANDBOX", "ONLY")}
    environ = environment.clean(**variables, graph_base_url=meta.url)
    environ["PATH"] = f"{home / 'bin'}{os.pathsep}{environ['PATH']}"

    def run(block: str, *, ends: int | None = 0) -> str:
        text = block.replace("https://hooks.example.com", meta.webhook)
        # the address of webhooks is also a setting, which has to stay what the operator means
        text = text.replace(f"PUBLIC_URL={meta.webhook}", "PUBLIC_URL=https://hooks.example.com")
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", text],
            cwd=work,
            env=environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ends is None or done.returncode == ends, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    settings, doctor, connect, subscribe, verify, check, send, look, answer = blocks
    run(settings)
    del program.variables["SANDBOX"]
    program.variables["GRAPH_BASE_URL"] = meta.url
    program.start().wait_ready("recorder", "api")
    try:
        assert "reach people" in eventually_text(program, "Messages")
        # what else it finds on the machine of this test is not the page's matter
        said = run(doctor, ends=None)
        assert re.search(r"^world +ok +live", said, re.MULTILINE), said
        assert re.search(r"^webhooks +warn", said, re.MULTILINE), said
        assert "Made: connection 0" in run(connect)
        program.wait_ready("meta")
        assert "come to us" in run(subscribe) and meta.subscribed
        assert run(verify) == "12345"
        run(check)
        assert re.search("is (sent|delivered)", run(send))
        eventually(lambda: "delivered" in run(look), 20, lambda: run(look))
        assert meta.sent[0]["template"]["name"] == "hello_world"
        meta.customer_writes("Is it open?")
        search, _, reply = answer.partition("\n")
        eventually(lambda: " in " in run(search), 20, lambda: run(search))
        assert "is " in run(reply)
        assert meta.sent[1]["text"]["body"] == "Thank you"
    finally:
        meta.close()
        program.stop()


def eventually_text(program: Bulkhead, word: str) -> str:
    """Return the program's output once it has a word."""
    eventually(lambda: word in program.log.read_text(), 30, program.tail)
    return program.log.read_text()
