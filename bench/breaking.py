"""Breaks an installation in every way that the table of alerts knows, and mends it; for `alarms`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any, Final

import psutil
import psycopg2
import requests

from bench.installation import Installation
from shared.store import messages
from shared.store.messages import NewMessage
from tests.e2e.conversation import link
from tests.hooks.env import Receiver
from tests.store.env import open_store
from tests.support.waiting import eventually

_LEFT_MB: Final = 200
"""What is left of it: below the bound of DiskLow, and enough for PostgreSQL to go on."""


@dataclass
class Broken:
    """One way to break it.

    Attributes:
        said: what is done, for the table. alerts: names of those that it must make fire. breaks, mends: what does it.
        keeps: does it again while the alerts are waited for; nothing by default.
        alone: not while others are looked at: it would end or delay them.
    """

    said: str
    alerts: tuple[str, ...]
    breaks: Callable[[], Any]
    mends: Callable[[], Any]
    alone: bool = False
    broken_at: float = 0.0
    mended_at: float = 0.0
    keeps: Callable[[], Any] = lambda: None


class Breaker:
    """Breaks and mends one installation."""

    def __init__(self, installation: Installation, cleanup: ExitStack) -> None:
        self.installation, self.bulkhead = installation, installation.bulkhead
        self._cleanup = cleanup
        self._receiver = Receiver(lambda _delivery, _handler: 500)
        cleanup.callback(self._receiver.close)
        self._hook = self._conversation = ""
        self._doubtful: list[tuple[str, str]] = []
        self._file = self.bulkhead.home / "settings.env"
        self._lines: dict[str, str] = {}
        self._ballast = self.bulkhead.home / "ballast"

    def api(self, method: str, path: str, **body: Any) -> Any:
        """Call the API; repeated where a process that is killed on purpose had the request."""

        given: Any = {"json": body} if method != "GET" else {}

        def answered() -> list[requests.Response]:
            answer = self.bulkhead.api(method, path, **given)
            return [answer] if answer.status_code < 500 else []

        (answer,) = eventually(answered, 30.0, f"{method} {path} is answered", ignoring=(requests.RequestException,))
        assert answer.ok, answer.text
        return answer.json()

    def control(self, path: str, **body: Any) -> Any:
        """Call the sandbox's control API."""
        answer = self.bulkhead.sandbox("POST", f"/control/{path}", json=body)
        assert answer.ok, answer.text
        return answer.json()

    def sql(self, statement: str, *arguments: Any) -> None:
        """Run a statement as the owner."""
        with closing(psycopg2.connect(self.installation.url)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement, arguments)

    def hold(self, statement: str, *arguments: Any) -> Callable[[], None]:
        """Run a statement in a transaction that stays open; what is returned ends it."""
        connection = psycopg2.connect(self.installation.url)
        connection.cursor().execute(statement, arguments)
        return connection.close

    def set(self, **variables: str) -> None:
        """Change the file of settings and let it be read; an empty value removes one."""
        self._lines |= variables
        self._file.write_text("".join(f"{name}={value}\n" for name, value in self._lines.items() if value))
        assert self.bulkhead.process is not None
        self.bulkhead.process.send_signal(signal.SIGHUP)

    def send(self, number: int, phone_index: int) -> str:
        """Send a text to the chat of a number and return its id."""
        sent = self.api(
            "POST", f"/api/v2/messages/text/demo/1555{number:07}", message=f"{number}", phoneIndex=phone_index
        )
        return str(sent["id"])

    def cut_off_after_acceptance(self) -> None:
        """Let 25 messages be in doubt, without a proof."""
        self.control("settings", statuses=[])
        self.control("faults", fault="cut_after", count=25, phone_number_id="100000000000003")
        self._doubtful = [(f"1555{number:07}", self.send(number, 3)) for number in range(3000, 3025)]

    def resolve(self) -> None:
        """Decide as an operator does."""
        self.control("settings", statuses=["sent", "delivered"])
        for chat, message_id in self._doubtful:
            self.api("POST", f"/api/v2/messages/demo/{chat}/{message_id}/resolve", **{"as": "sent"})

    def refuse(self) -> None:
        """Let the provider refuse twelve numbers for good."""
        self.control("faults", fault="error", code=131026, count=12, phone_number_id="100000000000001")
        for number in range(4000, 4012):
            self.send(number, 0)

    def kill_if_back(self) -> None:
        """Kill a slot's process if there is one."""
        with suppress(ProcessLookupError):
            if pid := self.bulkhead.pids().get("api-1"):
                os.kill(pid, signal.SIGKILL)

    def kill_until_quarantined(self) -> None:
        """Kill a slot's process each time that it is back."""

        def is_quarantined() -> bool:
            self.kill_if_back()
            listed = json.loads((self.bulkhead.home / "run/status.json").read_text())["slots"]
            return bool(listed["api-1"]["state"] == "quarantined")

        eventually(is_quarantined, 300.0, "api-1 is in quarantine", ignoring=(OSError, ValueError))

    def subscribe(self) -> None:
        """Add a webhook whose subscriber fails, and let something happen."""
        made = self.api("POST", "/api/v2/hooks/demo", url=self._receiver.url, types=["message.*"])
        self._hook = made["id"]
        for number in range(5000, 5040):
            self.send(number, 0)

    def take(self) -> None:
        """Mend the subscriber."""
        self._receiver.answer = lambda _delivery, _handler: 204
        self.api("PATCH", f"/api/v2/hooks/demo/{self._hook}", state="active")

    def ask_for_a_human(self) -> None:
        """Let a customer wait."""
        self.control("inbound", phone_number_id="100000000000001", **{"from": "15556660001"}, text="human please")

        def waiting() -> str:
            found = self.api("GET", "/api/v2/conversations/demo?state=waiting")["conversations"]
            return str(found[0]["id"]) if found else ""

        self._conversation = eventually(waiting, 60.0, "the customer waits")

    def answer(self) -> None:
        """Answer the customer."""
        self.api("POST", f"/api/v2/conversations/demo/{self._conversation}/reply", message="Here I am")

    def unlink(self) -> None:
        """End the link at the phone, and accept a message for it."""
        self.control(f"web/devices/{self._device()}/logout")
        self.send(6000, 1)

    def relink(self) -> None:
        """Scan the code."""
        link(self.bulkhead)

    def kill_browser_until_quarantined(self) -> None:
        """Kill the browser each time that it is back."""

        def is_quarantined() -> bool:
            worker = psutil.Process(self.bulkhead.pid("webdriver"))
            for one in worker.children(recursive=True):
                # the browser itself, and not one of its helpers
                with suppress(psutil.NoSuchProcess):
                    words = one.cmdline()
                    if any(word.startswith("--user-data-dir") for word in words) and "--type" not in " ".join(words):
                        one.kill()
            shown = self.bulkhead.api("GET", "/api/v2/sessions/demo/1")
            return bool(shown.ok and shown.json()["state"] == "quarantined")

        eventually(is_quarantined, 300.0, "the session is in quarantine", ignoring=(requests.RequestException,))

    def restart_session(self) -> None:
        """Do as the runbook says."""
        done = self.bulkhead.command("sessions", "restart", "--company", "demo", "1", within_s=90.0)
        assert done.returncode == 0, done.stdout + done.stderr

    def poison(self) -> None:
        """Let one received message be impossible to store."""
        self.sql("ALTER TABLE inbound_messages ADD CONSTRAINT poison CHECK (content ->> 'body' <> 'poison') NOT VALID")
        self.control("inbound", phone_number_id="100000000000001", **{"from": "15556660002"}, text="poison")

    def replay(self) -> None:
        """Remove the cause and process it again."""
        self.sql("ALTER TABLE inbound_messages DROP CONSTRAINT poison")
        done = self.bulkhead.command("webhooks", "replay", "--failed", within_s=90.0)
        assert done.returncode == 0, done.stdout + done.stderr

    def break_a_row(self) -> None:
        """Let an operation of the API meet what it does not expect, forty times."""
        self.sql("UPDATE phone_status SET facts = '[1]'")
        for _ in range(40):
            self.bulkhead.api("GET", "/api/v2/connections")

    def mend_the_row(self) -> None:
        """Put it back."""
        self.sql("UPDATE phone_status SET facts = '{}'")

    def narrow_memory(self) -> None:
        """Lower a limit to a little more than what is used."""
        listed = json.loads((self.bulkhead.home / "run/status.json").read_text())["slots"]
        used = listed["recorder-0"]["memory_mb"]
        self.set(RECORDER_MEMORY_HARD_MB=str(round(used * 1.12)), RECORDER_MEMORY_SOFT_MB="0")

    def fill_queue(self) -> None:
        """Pause a connection and accept more than a thousand messages for it."""
        self.api("POST", "/api/v2/connections/demo/2/pause")
        ((connection_id,),) = self.installation.rows(
            "SELECT id FROM phone_configs WHERE company_id = 'demo' AND phone_index = 2"
        )
        rows = [
            NewMessage(
                company_id="demo",
                connection_id=connection_id,
                process_name="meta",
                chat_id=f"1555800{number:04}",
                type="text",
                content={"body": f"{number}"},
            )
            for number in range(1050)
        ]
        with closing(open_store(self.installation.url, limit=1)) as store:
            store.run(messages.accept, rows)

    def empty_queue(self) -> None:
        """Let them be sent."""
        self.api("POST", "/api/v2/connections/demo/2/resume")

    def lock_received_messages(self) -> None:
        """Hold a lock that everything about received messages waits for, and ask for them all the time."""
        self.control("inbound", phone_number_id="100000000000001", **{"from": "15556660003"}, text="waits")
        self._unlock = self.hold("LOCK TABLE inbound_messages IN ACCESS EXCLUSIVE MODE")
        self.control("inbound", phone_number_id="100000000000001", **{"from": "15556660003"}, text="waits")
        self._asking = threading.Event()
        self._askers = [threading.Thread(target=self._ask, daemon=True) for _ in range(32)]
        for one in self._askers:
            one.start()

    def _ask(self) -> None:
        url = f"http://127.0.0.1:{self.bulkhead.settings.port('api')}/api/v2/messages/demo/15556660003"
        headers = {"Authorization": f"Bearer {self.bulkhead.settings.api_key}"}
        while not self._asking.is_set():
            with suppress(requests.RequestException):
                requests.get(url, headers=headers, timeout=30)

    def unlock_received_messages(self) -> None:
        """Give the lock back."""
        self._asking.set()
        self._unlock()
        for one in self._askers:
            one.join(60)

    def lock_heartbeat(self) -> None:
        """Hold the row that one process writes its heartbeat into."""
        self._unbeat = self.hold("SELECT * FROM process_health WHERE process_name = 'meta' AND instance = 1 FOR UPDATE")

    def unlock_heartbeat(self) -> None:
        """Give it back."""
        self._unbeat()

    def drain(self, kind: str) -> None:
        """Stop a kind."""
        done = self.bulkhead.command("drain", kind, within_s=90.0)
        assert done.returncode == 0, done.stdout + done.stderr

    def restart(self, target: str) -> None:
        """Start it again."""
        done = self.bulkhead.command("restart", target, within_s=90.0)
        assert done.returncode == 0, done.stdout + done.stderr

    def fill_disk(self) -> None:
        """Leave little of the home's file system."""
        free = shutil.disk_usage(self.bulkhead.home).free
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - _LEFT_MB * 1_000_000)

    def empty_disk(self) -> None:
        """Remove what filled it."""
        self._ballast.unlink()

    def _device(self) -> str:
        listed = self.bulkhead.sandbox("GET", "/control/web/devices").json()["devices"]
        return next(str(one["device"]) for one in listed if one["phone"])


def table(it: Breaker, *, with_disk: bool) -> list[Broken]:
    """Return every way to break it."""
    orchestrator = it.bulkhead.process
    assert orchestrator is not None

    def nothing() -> None:
        return

    found = [
        Broken("a webhook's subscriber answers 500", ("HooksFailing", "HooksLate"), it.subscribe, it.take),
        Broken("a limit of memory 12 % above what is used", ("MemoryHigh",), it.narrow_memory,
               lambda: it.set(RECORDER_MEMORY_HARD_MB="", RECORDER_MEMORY_SOFT_MB="")),
        Broken("LLM_PRICES is no JSON", ("SlotMisconfigured",), lambda: it.set(LLM_PRICES="none"),
               lambda: it.set(LLM_PRICES="")),
        Broken("a transaction holds the row of one heartbeat", ("HeartbeatMissing",), it.lock_heartbeat,
               it.unlock_heartbeat),
        Broken("a received message that the database refuses", ("WebhooksFailed",), it.poison, it.replay),
        Broken("an operation of the API fails 40 times", ("ErrorsFrequent",), it.break_a_row, it.mend_the_row),
        Broken("the provider refuses 12 numbers", ("DeadLettersMany",), it.refuse, nothing),
        Broken("the provider cuts 25 connections after it took the message, and sends no status",
               ("ProviderFailing", "MessagesHeld", "InDoubtMany"), it.cut_off_after_acceptance, it.resolve),
        Broken("1,050 messages for a paused connection", ("BacklogLarge",), it.fill_queue, it.empty_queue),
        Broken("a customer asks for a human, whose limit is one minute", ("CustomersWaiting",), it.ask_for_a_human,
               it.answer),
        Broken("the phone ends the link, and a message is accepted", ("SessionLinkLost", "MessagesStuck"), it.unlink,
               it.relink),
        Broken("api-1 is killed each time that it is back", ("SlotQuarantined", "ProcessDown", "RestartsFrequent"),
               it.kill_until_quarantined, lambda: it.restart("api-1"), keeps=it.kill_if_back),
        Broken("the browser is killed each time that it is back", ("SessionQuarantined",),
               it.kill_browser_until_quarantined, it.restart_session, alone=True),
        Broken("a lock on received messages, and 32 clients that read them",
               ("WebhooksStuck", "EventsLate", "PoolExhausted"), it.lock_received_messages,
               it.unlock_received_messages, alone=True),
        Broken("Redis is stopped", ("RedisUnavailable",), lambda: it.drain("redis"), lambda: it.restart("redis"),
               alone=True),
        Broken("PostgreSQL is stopped", ("DatabaseUnavailable",), lambda: it.drain("postgres"),
               lambda: it.restart("postgres"), alone=True),
        Broken("the orchestrator is stopped (SIGSTOP)", ("OrchestratorMissing",),
               lambda: orchestrator.send_signal(signal.SIGSTOP), lambda: orchestrator.send_signal(signal.SIGCONT),
               alone=True),
    ]  # fmt: skip
    if with_disk:
        found.append(
            Broken(f"a file leaves {_LEFT_MB} MB of the disk", ("DiskLow",), it.fill_disk, it.empty_disk, alone=True)
        )
    return found
