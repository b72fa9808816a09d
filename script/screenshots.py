"""Makes pictures of the control room: calm, in each of five troubles, and on a phone."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import requests

from shared.kinds import KINDS, kind_settings, next_admin_offset
from tests.support import environment, ports
from tests.support.browser import PHONE, WIDE, Browser, Tab
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

FOLDER: Final = environment.REPOSITORY / "docs" / "pictures"
CHATS: Final = [f"1555010{number:04}" for number in range(200, 216)]
SOON_S: Final = 60.0
NUMBER: Final = "100000000000001"
"""Connection 0 in the sandbox."""
CUSTOMERS: Final = (
    ("Ada Lovelace", "Where is my parcel? It was to come on Monday."),
    ("Charles Babbage", "The invoice has a wrong address."),
    ("Mary Somerville", "Can I change the size of my order?"),
)
"""Who writes, and what."""


@contextmanager
def installation() -> Iterator[Bulkhead]:
    """A running installation with a home of its own, and company demo."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    public = [name for row in KINDS for setting, name in kind_settings(row) if setting.field == "port"]
    first = ports.free_port_block(next_admin_offset() + len(public))
    variables = {
        "BULKHEAD_HOME": str(home),
        "ADMIN_PORT": str(first),
        **{name: str(first + next_admin_offset() + offset) for offset, name in enumerate(public)},
        "API_KEY": "pictures-" + os.urandom(8).hex(),
        "SECRET_ENCRYPTION_KEY": base64.b64encode(os.urandom(32)).decode(),
        "HEARTBEAT_S": "1",
        "META_RESTART_INTENSITY": "2",
    }
    program = Bulkhead(home, variables)
    try:
        yield program.start().wait_ready(within_s=120)
    finally:
        program.close()
        shutil.rmtree(home)


class Scene:
    """The installation and the tab that looks at it."""

    def __init__(self, program: Bulkhead, tab: Tab, folder: Path) -> None:
        self.program, self.tab, self._folder = program, tab, folder

    def send(self, count: int, *, phone_index: int = 0) -> None:
        """Send texts to several chats."""
        for number in range(count):
            place = f"/api/v2/messages/text/demo/{CHATS[number % len(CHATS)]}"
            body = {"message": f"Your parcel {1000 + number} is on its way.", "phoneIndex": phone_index}
            self.program.api("POST", place, json=body).raise_for_status()

    def control(self, path: str, **body: Any) -> None:
        """Make a request of the sandbox's control API."""
        self.program.sandbox("POST", f"/control/{path}", json=body).raise_for_status()

    def scan(self) -> None:
        """Link the session, once its page shows a code."""
        eventually(
            lambda: self.program.sandbox("POST", "/control/web/scan", json={}).ok, SOON_S, "a session shows a code"
        )
        self.well_again("session_needs_link", "session_link_lost", "session_not_ready")

    def operate(self, *words: str) -> None:
        """Run an operator's command, which waits until it is done."""
        self.program.command(*words, within_s=200).check_returncode()

    def sees(self, words: str) -> None:
        """Wait until the page says something."""
        self.tab.sees(words, within_s=SOON_S)

    def troubles(self) -> set[str]:
        """Return the codes of what is wrong now."""
        with suppress(requests.RequestException):
            return {one["code"] for one in self.program.api("GET", "/health/all").json()["troubles"]}
        return set()

    def until(self, code: str) -> None:
        """Wait until something is wrong, and the page says so."""
        eventually(lambda: code in self.troubles(), SOON_S, lambda: f"{code}; {self.troubles()}\n{self.program.tail()}")

    def well_again(self, *codes: str) -> None:
        """Wait until it is not."""
        eventually(lambda: not self.troubles() & set(codes), SOON_S, lambda: f"no {codes}; {self.troubles()}")

    def take(self, name: str, *, whole: bool = False, dark: bool = False, phone: bool = False) -> None:
        """Take a picture, also in the dark or of a phone."""
        self.tab.picture(self._folder / f"{name}.png", whole=whole)
        if dark:
            self.tab.media("dark")
            self.tab.picture(self._folder / f"{name}-dark.png", whole=whole)
            self.tab.media("light")
        if phone:
            # a phone loads the page anew
            self.tab.size(PHONE)
            self._settled()
            self.tab.picture(self._folder / f"{name}-phone.png")
            self.tab.size(WIDE)
            self._settled()

    def _settled(self) -> None:
        self.tab.until(
            "() => document.querySelector('#stream').textContent === 'live'"
            " && !/Loading|Asking/.test(document.querySelector('main').textContent)",
            "the page is live again",
            within_s=SOON_S,
        )

    def go(self, path: str, heading: str) -> None:
        """Go to a page that has loaded everything."""
        self.tab.go(path, heading)


def calm(scene: Scene) -> None:
    """Everything is well: a linked session, messages that flow."""
    scene.scan()
    for _ in range(6):
        scene.send(20)
        scene.send(5, phone_index=2)
    eventually(lambda: _open(scene.program) == 0, SOON_S, "everything is sent")
    scene.go("#/now", "Now")
    scene.sees("Nothing is wrong")
    scene.take("now-calm", dark=True, phone=True)
    scene.go("#/processes", "Processes")
    scene.sees("Memory")
    scene.take("processes", whole=True, dark=True, phone=True)
    scene.go("#/queues", "Queues")
    scene.take("queues", whole=True)
    scene.go("#/connections", "Connections")
    scene.take("connections")
    scene.go("#/messages?company=demo", "Messages")
    scene.take("messages", phone=True)
    scene.go("#/connections/demo/1", "Connection demo 1")
    scene.take("session")
    for name, heading in (("companies", "Companies"), ("keys", "Keys"), ("alerts", "Alerts"), ("audit", "Changes")):
        scene.go(f"#/{name}", heading)
        scene.take(name)


def inbox(scene: Scene) -> None:
    """Customers wait for a human; the assistant has documents."""
    settings = {"enableAssistant": False, "enableHumanHandoff": True}
    scene.program.api("PATCH", "/api/v2/companies/demo", json={"settings": settings}).raise_for_status()
    for number, (name, text) in enumerate(CUSTOMERS):
        scene.control("inbound", phone_number_id=NUMBER, name=name, text=text, **{"from": f"+1555012{number:04}"})
    scene.go("#/inbox?company=demo", "Inbox")
    for name, _ in CUSTOMERS:
        scene.sees(name)
    scene.take("inbox", dark=True, phone=True)
    scene.tab.click("Ada Lovelace")
    scene.tab.sees("Where is my parcel", ".talk")
    scene.tab.fill("#reply", "I am Grace. It left today, and should reach you tomorrow.")
    scene.tab.press_with("Control", "Enter")
    scene.tab.sees("I am Grace", ".talk")
    scene.take("conversation", phone=True)
    with tempfile.TemporaryDirectory() as folder:
        terms, scan = Path(folder) / "terms.md", Path(folder) / "letter.txt"
        terms.write_text(
            "# Refunds\n\nA refund is paid within 30 days after the parcel came back.\n\n"
            "# Delivery\n\nA parcel leaves on the day of its order when it was ordered before noon.\n",
            encoding="utf-8",
        )
        scan.write_text(" \n\n", encoding="utf-8")
        scene.go("#/documents?company=demo", "Documents")
        scene.tab.click("Upload documents")
        scene.tab.choose("dialog input[type=file]", terms, scan)
        scene.tab.click("Upload")
        scene.sees("no text")
        scene.sees("indexed")
    scene.tab.fill("input[name=q]", "when do I get my money back")
    scene.tab.press("Enter")
    scene.tab.sees("30 days", ".passages")
    scene.take("documents", dark=True, phone=True)
    usual = {"enableAssistant": None, "enableHumanHandoff": None}
    scene.program.api("PATCH", "/api/v2/companies/demo", json={"settings": usual}).raise_for_status()


def _open(program: Bulkhead) -> int:
    return sum(int(one["messages"]) for one in program.api("GET", "/api/v2/queues").json()["queues"])


def killed(scene: Scene) -> None:
    """A process is killed again and again, until it is in quarantine."""
    scene.go("#/now", "Now")

    def kill() -> bool:
        with suppress(AssertionError, ProcessLookupError):
            scene.program.kill("meta", signal.SIGKILL)
        return "process_quarantined" in scene.troubles()

    eventually(kill, SOON_S, "meta-0 is in quarantine", poll_s=0.3)
    scene.sees("ended too often")
    scene.sees("process quarantined")
    scene.take("now-killed", dark=True, phone=True)
    scene.go("#/processes/meta-0", "Process meta-0")
    scene.take("process-killed", whole=True)
    scene.operate("restart", "meta-0")
    scene.well_again("process_quarantined", "process_not_ready")


def database_away(scene: Scene) -> None:
    """PostgreSQL is stopped."""
    scene.go("#/now", "Now")
    scene.operate("drain", "postgres")
    scene.until("database_unavailable")
    scene.sees("PostgreSQL takes no writes")
    scene.take("now-database", phone=True)
    scene.go("#/processes", "Processes")
    scene.take("processes-database")
    scene.operate("restart", "postgres")
    scene.well_again("database_unavailable", "process_not_ready", "kind_down")


def redis_away(scene: Scene) -> None:
    """Redis is stopped."""
    scene.go("#/now", "Now")
    scene.operate("drain", "redis")
    scene.until("redis_unavailable")
    scene.sees("Redis takes no writes")
    scene.take("now-redis")
    scene.operate("restart", "redis")
    scene.well_again("redis_unavailable", "process_not_ready", "kind_down")


def link_lost(scene: Scene) -> None:
    """The phone ends the link of a session, while messages wait for it."""
    scene.go("#/now", "Now")
    (device,) = scene.program.sandbox("GET", "/control/web/devices").json()["devices"]
    scene.control(f"web/devices/{device['device']}/logout")
    scene.until("session_link_lost")
    scene.sees("lost its link")
    scene.take("now-link", phone=True)
    scene.go("#/connections/demo/1", "Connection demo 1")
    scene.tab.until("() => !!document.querySelector('.link img')", "the code is drawn", within_s=2 * SOON_S)
    scene.take("session-link", phone=True)
    scene.scan()


def dead_letters(scene: Scene) -> None:
    """The provider refuses what is sent."""
    scene.control("faults", fault="error", code=131026, channel="graph", count=24)
    scene.send(24)
    scene.until("dead_letters")
    scene.go("#/now", "Now")
    scene.sees("failed for good")
    scene.take("now-dead")
    scene.go("#/letters?company=demo", "Dead letters")
    scene.take("letters", phone=True)
    scene.tab.click("Send all 24 failed again")
    scene.tab.sees("All 24", "dialog")
    scene.take("letters-ask")


def doctor(scene: Scene) -> None:
    """The checks of `bulkhead doctor`, from the page."""
    scene.go("#/doctor", "Doctor")
    scene.tab.click("Check now")
    scene.tab.sees("checks,", "#doctor-summary", within_s=2 * SOON_S)
    scene.take("doctor", phone=True)


SCENES: Final[tuple[Callable[[Scene], None], ...]] = (
    calm,
    doctor,
    inbox,
    killed,
    link_lost,
    database_away,
    redis_away,
    dead_letters,
)


def main(folder: Path) -> int:
    """Take every picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    browser, failed = Browser(), 0
    try:
        with installation() as program, browser.tab(f"http://127.0.0.1:{program.settings.port('api')}") as tab:
            tab.media("light")
            tab.sign_in(program.settings.api_key)
            tab.sees("live", "#stream")
            scene = Scene(program, tab, folder)
            for one in SCENES:
                sys.stdout.write(f"{one.__name__.replace('_', ' ')} …\n")
                sys.stdout.flush()
                try:
                    one(scene)
                # one that fails costs its pictures and not those of the others
                except (AssertionError, OSError, subprocess.SubprocessError) as error:
                    failed += 1
                    sys.stdout.write(f"  failed: {error}\n")
    finally:
        browser.close()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
