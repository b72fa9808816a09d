"""An assistant and a human with three customers, by WhatsApp, WhatsApp Web and Messenger at once, in the sandbox.

    python examples/assistant_demo.py        beside a running `script/run`, without any account

Each customer asks something that stands in an uploaded PDF and is answered with the source, books a slot, and asks for
a human. A person answers, the assistant is silent, and the conversation is handed back. docs/assistant-demo.md shows
what is seen. `bulkhead_client` must be installed (`pip install ./bulkhead_client`). A second run is like the first.

BULKHEAD_URL, BULKHEAD_SANDBOX and BULKHEAD_HOME name another installation than that of `script/run`; its key and the
sandbox's token are read from BULKHEAD_HOME, unless BULKHEAD_KEY and SANDBOX_ACCESS_TOKEN give them.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import requests

from bulkhead_client import Bulkhead, File, Problem

TERMS: Final = Path(__file__).with_name("terms.pdf")
COMPANY: Final = "demo"
PAGE: Final = "400000000000001"
NUMBER: Final = "100000000000001"
HUMAN: Final = "Hello, this is Grace. I have moved your parcel to Friday."
STEPS: Final[Mapping[str, str]] = {
    "asked": "Each customer asks something that stands in the PDF, and is answered with the source.",
    "booked": "Each customer books a slot: the assistant lists them, holds one, and books it when it is confirmed.",
    "waiting": "Each customer asks for a human, and waits.",
    "answered": "A person answers, and the assistant is silent whatever the customers write.",
    "returned": "The conversations are handed back, and the assistant answers again.",
}
"""What happens, in order; a picture of each stands in the document."""
_SETTINGS: Final[Mapping[str, Any]] = {
    "brandName": "The salon",
    "enableAssistant": True,
    "enableRag": True,
    "enableFunctionCalling": True,
    "enableHumanHandoff": True,
    "answerDelaySeconds": 0,
}
_LOOK_S: Final = 0.1

Speaker = Literal["customer", "assistant", "human"]


class DemoFailed(Exception):
    """Raised when something does not happen in time; the text says what."""


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """One message of a chat, as the customer sees it."""

    speaker: Speaker
    text: str


@dataclass(kw_only=True, slots=True)
class Customer:
    """A customer, and everything that was said in the chat so far.

    Attributes:
        channel: for people. chat: the customer's id there. shown: says whether an entry of the ledger is a text that
            this customer got, and returns it.
    """

    channel: str
    phone_index: int
    chat: str
    shown: Callable[[Mapping[str, Any]], str | None]
    lines: list[SpokenLine] = field(default_factory=list)


class Demo:
    """The demonstration over a running installation.

    Args:
        sandbox: address of the sandbox. token: what its Page accepts. within_s: for how long each event is waited for.
        report: takes a line of what happens. seen: is called after each of `STEPS` with its name.
    """

    def __init__(
        self,
        bulkhead: Bulkhead,
        sandbox: str,
        token: str,
        *,
        within_s: float = 60.0,
        report: Callable[[str], object] = lambda line: None,
        seen: Callable[[str, Sequence[Customer]], object] = lambda name, customers: None,
    ) -> None:
        self._bulkhead, self._sandbox, self._token = bulkhead, sandbox.rstrip("/"), token
        self._within_s, self._report, self._seen = within_s, report, seen
        self._control = requests.Session()
        # the sandbox is on this machine
        self._control.trust_env = False
        self._since = 0
        self._device = ""
        # other customers in each run: what was said to earlier ones is in their history
        run = f"{int(time.time()) % 1_000_000:06}"
        self.customers: list[Customer] = [
            Customer(channel="WhatsApp", phone_index=0, chat=f"1555{run}1", shown=self._by_whatsapp),
            Customer(channel="WhatsApp Web", phone_index=1, chat=f"1555{run}2", shown=self._by_web),
            Customer(channel="Messenger", phone_index=-1, chat=f"2455{run}00000003", shown=self._by_messenger),
        ]

    def run(self) -> None:
        """Play all of it. Raises `DemoFailed`."""
        self.prepare()
        for name, play in (
            ("asked", self._ask),
            ("booked", self._book),
            ("waiting", self._ask_for_a_human),
            ("answered", self._answer_as_a_human),
            ("returned", self._hand_back),
        ):
            self._report(f"\n{STEPS[name]}")
            before = [len(customer.lines) for customer in self.customers]
            play()
            for customer, length in zip(self.customers, before, strict=True):
                for line in customer.lines[length:]:
                    self._report(f"  {customer.channel:12} {line.speaker:9} {line.text}")
            self._seen(name, self.customers)

    def prepare(self) -> None:
        """Bring the company into the state that the first question needs."""
        self._bulkhead.change_company(settings=dict(_SETTINGS))
        document = self._bulkhead.upload_document(File(content=TERMS.read_bytes(), name=TERMS.name))
        self._add_slots()
        self._connect_page()
        self._link_phone()
        found = self._bulkhead.wait_for_document(document["id"], self._within_s)
        if found["status"] != "indexed":
            raise DemoFailed(f"{TERMS.name} is {found['status']}: {found['reason']}")
        # what earlier runs left in the ledger is not of these customers
        self._report(f"{TERMS.name} is indexed: {found['chunks']} passages")

    def _add_slots(self) -> None:
        path = f"/api/v2/companies/{COMPANY}/services"
        service = self._bulkhead.call("POST", path, {"name": "Haircut"})["id"]
        morning = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
        # the first day whose slots were not added, and perhaps booked, by an earlier run
        for day in range(1, 400):
            times = [morning + timedelta(days=day, minutes=30 * number) for number in range(len(self.customers))]
            body = {"startsAt": [one.isoformat() for one in times], "minutes": 30}
            if len(self._bulkhead.call("POST", f"{path}/{service}/slots", body)["slots"]) == len(times):
                return
        raise DemoFailed("the slots of a whole year were added by earlier runs")

    def _connect_page(self) -> None:
        made = {"connectionType": "messenger", "accountId": PAGE, "accessToken": self._token}
        try:
            index = self._bulkhead.call("POST", f"/api/v2/connections/{COMPANY}", made)["phoneIndex"]
        except Problem as problem:
            # an earlier run has made it
            if problem.type != "account_in_use":
                raise
            known = self._bulkhead.connections()["connections"]
            index = next(one["phoneIndex"] for one in known if one["accountId"] == PAGE)
        self.customers[2].phone_index = index

    def _link_phone(self) -> None:
        path = f"/api/v2/sessions/{COMPANY}/{self.customers[1].phone_index}"

        def linked() -> bool:
            session = self._bulkhead.get(path)
            if session["state"] == "ready":
                return True
            if session.get("qr"):
                # a code that is too old by now is refused, and there is another one
                self._control.post(f"{self._sandbox}/control/web/scan", json={"code": session["qr"]}, timeout=10)
            return False

        self._wait(linked, "the session of WhatsApp Web is linked")
        devices = self._ask_sandbox("GET", "web/devices")["devices"]
        self._device = next(one["device"] for one in devices if one["phone"])

    # the steps

    def _ask(self) -> None:
        self._all_write("What is your refund policy?")
        for customer in self.customers:
            self._answered(customer, "(Source: terms.pdf, page 3)")

    def _book(self) -> None:
        self._all_write("Which slots are free for a haircut?")
        # all look before one books, so each takes another of the listed ones
        listed = [re.findall(r"slot (\d+):", self._answered(customer, "Free: ")) for customer in self.customers]
        for number, customer in enumerate(self.customers):
            self._write(customer, f"Please book slot {listed[number][number]}.")
        held = [self._answered(customer, "is held as booking ") for customer in self.customers]
        for customer, text in zip(self.customers, held, strict=True):
            (booking,) = re.findall(r"is held as booking (\d+)", text)
            self._write(customer, f"Please confirm booking {booking}.")
        for customer in self.customers:
            self._answered(customer, "is confirmed: Haircut")

    def _ask_for_a_human(self) -> None:
        self._all_write("I would like to talk to a human.")
        for customer in self.customers:
            self._in_state(customer, "waiting")

    def _answer_as_a_human(self) -> None:
        for customer in self.customers:
            self._bulkhead.reply_in_conversation(self._in_state(customer, "waiting"), HUMAN)
        for customer in self.customers:
            self._answered(customer, HUMAN)
        thanks = "Thank you. How long does shipping take?"
        self._all_write(thanks)
        for customer in self.customers:
            conversation = self._in_state(customer, "human")
            # it has come in: an assistant that were not silent would answer it now, before it answers what comes later
            self._wait(
                lambda conversation=conversation: any(  # type: ignore[misc]
                    one.get("message") == thanks for one in self._bulkhead.conversation(conversation)["messages"]
                ),
                f"what the customer on {customer.channel} wrote has come in",
            )

    def _hand_back(self) -> None:
        for customer in self.customers:
            self._bulkhead.hand_back_conversation(self._in_state(customer, "human"))
        silent = [len(customer.lines) for customer in self.customers]
        self._all_write("When is an order shipped for free?")
        for customer, length in zip(self.customers, silent, strict=True):
            self._answered(customer, "(Source: terms.pdf, page 2)")
            said = [line.speaker for line in customer.lines[length:]]
            if said != ["customer", "assistant"]:
                raise DemoFailed(f"on {customer.channel} the assistant was not silent: {customer.lines[length:]}")

    # what customers write and see

    def _all_write(self, text: str) -> None:
        for customer in self.customers:
            self._write(customer, text)

    def _write(self, customer: Customer, text: str) -> None:
        self._look()
        if customer.shown == self._by_web:
            self._ask_sandbox("POST", f"web/devices/{self._device}/messages", {"from": customer.chat, "body": text})
        elif customer.shown == self._by_messenger:
            self._ask_sandbox("POST", "people", {"account_id": PAGE, "from": customer.chat, "text": text})
        else:
            written = {"phone_number_id": NUMBER, "from": f"+{customer.chat}", "text": text}
            self._ask_sandbox("POST", "inbound", written)
        customer.lines.append(SpokenLine("customer", text))

    def _answered(self, customer: Customer, words: str) -> str:
        """Return what the customer was answered. Raises `DemoFailed` when it says something else, or nothing."""

        def answer() -> str:
            self._look()
            return customer.lines[-1].text if customer.lines[-1].speaker != "customer" else ""

        text: str = self._wait(answer, f"the customer on {customer.channel} is answered: {words}")
        if words not in text:
            raise DemoFailed(f"on {customer.channel} the answer is {text!r}, and should say {words!r}")
        return text

    def _look(self) -> None:
        """Read what has arrived at the providers since the last look."""
        while entries := self._ask_sandbox("GET", f"ledger?since={self._since}")["entries"]:
            self._since = entries[-1]["seq"]
            for entry in entries:
                for customer in self.customers:
                    if (text := customer.shown(entry)) is not None:
                        customer.lines.append(SpokenLine("human" if text == HUMAN else "assistant", text))

    def _by_whatsapp(self, entry: Mapping[str, Any]) -> str | None:
        if entry["event"] != "accepted" or entry.get("phone_number_id") != NUMBER or entry.get("type") != "text":
            return None
        return entry["message"]["text"]["body"] if entry["to"].lstrip("+") == self.customers[0].chat else None

    def _by_web(self, entry: Mapping[str, Any]) -> str | None:
        is_ours = entry["event"] == "message_arrived" and entry["chat"] == f"{self.customers[1].chat}@c.us"
        return str(entry["body"]) if is_ours else None

    def _by_messenger(self, entry: Mapping[str, Any]) -> str | None:
        is_ours = entry["event"] == "accepted" and entry.get("phone_number_id") == PAGE
        return entry["message"].get("text") if is_ours and entry["to"] == self.customers[2].chat else None

    def _in_state(self, customer: Customer, state: str) -> str:
        """Return the id of the customer's conversation once it has a state."""

        def found() -> str:
            conversations = self._bulkhead.conversations(chat=customer.chat, phone_index=customer.phone_index)
            return next((one["id"] for one in conversations if one["state"] == state), "")

        conversation: str = self._wait(found, f"the conversation on {customer.channel} is {state}")
        return conversation

    def _ask_sandbox(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._control.request(method, f"{self._sandbox}/control/{path}", json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def _wait(self, happened: Callable[[], Any], what: str) -> Any:
        by = time.monotonic() + self._within_s
        while not (value := happened()):
            if time.monotonic() >= by:
                raise DemoFailed(f"not within {self._within_s:g} s: {what}")
            time.sleep(_LOOK_S)
        return value


def main() -> int:
    """Run it beside `script/run`."""
    home = Path(os.environ.get("BULKHEAD_HOME", "var"))

    def given(variable: str, file: str) -> str:
        return os.environ.get(variable) or (home / file).read_text(encoding="utf-8").strip()

    def report(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    url = os.environ.get("BULKHEAD_URL", "http://127.0.0.1:3000")
    sandbox = os.environ.get("BULKHEAD_SANDBOX", "http://127.0.0.1:3100")
    with Bulkhead(url, given("BULKHEAD_KEY", "api_key"), company=COMPANY) as bulkhead:
        try:
            Demo(bulkhead, sandbox, given("SANDBOX_ACCESS_TOKEN", "sandbox_access_token"), report=report).run()
        except DemoFailed as failure:
            sys.stderr.write(f"{failure}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
