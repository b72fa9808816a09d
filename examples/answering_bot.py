"""A bot that answers each text: gets events by webhook, verifies them, and replies once.

    BULKHEAD_URL=http://127.0.0.1:3000 BULKHEAD_KEY=… python answering_bot.py

It adds its own webhook when it starts, and removes it when it ends. `bulkhead_client` must be installed
(`pip install ./bulkhead_client`); everything else is Python's own. With Flask, the body of `do_POST` is a view:
`verify(request.headers, request.get_data(), SECRET)`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bulkhead_client import Bulkhead, WebhookRejected, verify

URL = os.environ.get("BULKHEAD_URL", "http://127.0.0.1:3000")
KEY = os.environ["BULKHEAD_KEY"]
COMPANY = os.environ.get("BULKHEAD_COMPANY", "demo")
PORT = int(os.environ.get("PORT", "5000"))

bulkhead = Bulkhead(URL, KEY, company=COMPANY)
secret = ""
seen: OrderedDict[str, None] = OrderedDict()


class Handler(BaseHTTPRequestHandler):
    """Takes deliveries."""

    def do_POST(self) -> None:
        """Answer 2xx only when the event is dealt with: anything else makes Bulkhead deliver it again."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = verify(dict(self.headers.items()), body, secret)
        except WebhookRejected as error:
            self.send_error(400, str(error))
            return
        message = event["data"]["message"]
        # the same event may come twice
        if event["id"] not in seen and message and message["type"] == "text":
            bulkhead.send_text(
                message["chatId"],
                f"You wrote: {message['message']}",
                phoneIndex=message["phoneIndex"],
                # also after a crash between sending and answering: the same event never causes two replies
                idempotency_key=f"reply-{event['id']}",
            )
        seen[event["id"]] = None
        if len(seen) > 10_000:
            seen.popitem(last=False)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
hook = bulkhead.add_hook(f"http://127.0.0.1:{server.server_port}/hook", ["message.received"])
secret = hook["secret"]
sys.stdout.write(f"answering; webhook {hook['id']}\n")
sys.stdout.flush()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit())
try:
    server.serve_forever()
finally:
    bulkhead.remove_hook(hook["id"])
