"""The stand-in of a single-process server for `bench move`: its tables, with one number for each company, and its route
for texts. It looks into its table for each request and sends by the provider at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import psycopg2
import requests

from bench.installation import Installation
from tests.support import environment
from tests.support.waiting import deadline_s, joined

NUMBERS: Final = {f"company-{digit}": f"10000000000000{digit}" for digit in "134"}
"""The sandbox's numbers at Meta, by company."""
SERVES: Final = "active"
LETS_GO: Final = "inactive"
NO_CHAT: Final = "not-a-chat"
"""A chat that the server takes, as it takes anything, and Bulkhead refuses: what the shadow has to report."""
_OLD_TABLES: Final = environment.REPOSITORY / "tests" / "store" / "data" / "old_server.sql"


class OldServer:
    """The single-process server: looks into its table for each request, and sends by the provider at once."""

    def __init__(self, database_url: str, provider: Installation) -> None:
        settings = provider.bulkhead.settings
        self._database_url = database_url
        self._graph = f"http://127.0.0.1:{settings.port('sandbox')}/graph/{settings.graph_version}"
        self._local = threading.local()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                company, chat = self.path.split("/")[-2:]
                status, answer = server.answer(company, chat, str(body["message"]))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[OldServer]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            joined(thread, 10)

    def answer(self, company: str, chat: str, text: str) -> tuple[int, Mapping[str, Any]]:
        """Return status and body for one request."""
        number, token, status = self._number(company)
        if status != SERVES:
            return 503, {"error": "not_served"}
        if chat == NO_CHAT:
            return 200, {"success": True}
        answer = self._session().post(
            f"{self._graph}/{number}/messages",
            json={
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": chat,
                "type": "text",
                "text": {"body": text},
            },
            headers={"Authorization": f"Bearer {token}"},
            timeout=deadline_s(30),
        )
        return (200, {"success": True}) if answer.ok else (502, {"error": "provider_refused"})

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = new_session()
        session: requests.Session = self._local.session
        return session

    def _number(self, company: str) -> tuple[str, str, str]:
        connection = psycopg2.connect(self._database_url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT meta_phone_number_id, meta_access_token, status FROM public.phone_configs "
                    "WHERE company_id = %s AND phone_index = 0",
                    (company,),
                )
                number, token, status = cursor.fetchone() or ("", "", "")
                return number, token, status
        finally:
            connection.close()


def new_session() -> requests.Session:
    """Return a client that takes no proxy from the environment."""
    made = requests.Session()
    made.trust_env = False
    return made


def register_numbers(provider: Installation) -> None:
    """Let the provider know the numbers."""
    for number in NUMBERS.values():
        body = {"phone_number_id": number, "registered": True}
        provider.bulkhead.sandbox("POST", "/control/numbers", json=body).raise_for_status()


def make_tables(url: str, provider: Installation) -> None:
    """Make the server's tables, with one number for each company."""
    token = (provider.bulkhead.home / "sandbox_access_token").read_text(encoding="utf-8").strip()
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_OLD_TABLES.read_text(encoding="utf-8"))
            cursor.execute("DELETE FROM phone_configs; DELETE FROM phone_status")
            for company, number in NUMBERS.items():
                cursor.execute(
                    "INSERT INTO phone_configs (company_id, phone_index, connection_type, status, "
                    "meta_phone_number_id, meta_business_account_id, meta_access_token) "
                    "VALUES (%s, 0, 'meta_direct', %s, %s, %s, %s)",
                    (company, SERVES, number, f"20000000000000{number[-1]}", token),
                )
    finally:
        connection.close()
