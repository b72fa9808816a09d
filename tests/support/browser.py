"""A real Chromium as a test drives it: one tab at a time, by what a person sees and does."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import pyppeteer
from pyppeteer.browser import Browser as Chromium
from pyppeteer.page import Page

from tests.support.environment import REPOSITORY
from tests.support.waiting import eventually

_T = TypeVar("_T")

SHOWN_S: Final = 10.0
AXE: Final = REPOSITORY / ".venv" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
"""Where `script/npm` puts it."""
WIDE: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 360, "height": 740, "isMobile": True, "hasTouch": True}
_FIND: Final = """(words) => [...document.querySelectorAll('a, button')]
    .filter((one) => !document.querySelector('dialog[open]') || one.closest('dialog'))
    .find((one) => one.checkVisibility() && (one.getAttribute('aria-label') ?? one.textContent).trim() === words)"""


class Browser:
    """Chromium, with an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._chromium: Chromium = self.wait(
            pyppeteer.launch(
                executablePath=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars"],
                handleSIGINT=False,
                handleSIGTERM=False,
                handleSIGHUP=False,
            )
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._chromium.process.pid)

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run something to its end."""
        return self._loop.run_until_complete(work)

    @contextmanager
    def tab(self, url: str) -> Iterator[Tab]:
        """A fresh tab without anything kept."""
        context = self.wait(self._chromium.createIncognitoBrowserContext())
        try:
            yield Tab(self, self.wait(context.newPage()), url)
        finally:
            self.wait(context.close())

    def close(self) -> None:
        """End it."""
        self.wait(self._chromium.close())
        self._loop.close()


class Tab:
    """One tab.

    Attributes:
        said: errors of the page and lines of its console. requested: every address that was asked for.
    """

    def __init__(self, browser: Browser, page: Page, url: str) -> None:
        self._browser, self._page, self.url = browser, page, url
        self.said: list[str] = []
        self.requested: list[str] = []
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("request", lambda request: self.requested.append(request.url))
        self.size(WIDE)

    def size(self, size: dict[str, Any]) -> None:
        """Make the window so large."""
        self._browser.wait(self._page.setViewport(size))

    def media(self, scheme: str) -> None:
        """Prefer `light` or `dark`, and little motion."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self._browser.wait(self._page._client.send("Emulation.setEmulatedMedia", {"features": features}))

    def offline(self, away: bool) -> None:
        """Cut the network off, or bring it back."""
        self._browser.wait(self._page.setOfflineMode(away))

    def eval(self, script: str, *arguments: Any) -> Any:
        """Return what a function of the page returns."""
        return self._browser.wait(self._page.evaluate(script, *arguments))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self._browser.wait(self._page.keyboard.press(key))

    def press_with(self, held: str, key: str) -> None:
        """Press a key while another one is held down: `Control` and `Enter`."""
        self._browser.wait(self._page.keyboard.down(held))
        self.press(key)
        self._browser.wait(self._page.keyboard.up(held))

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a field for them."""
        field = self._browser.wait(self._page.querySelector(selector))
        assert field is not None, f"there is no {selector}"
        self._browser.wait(field.uploadFile(*map(str, files)))

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self._browser.wait(self._page.keyboard.type(text))

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen."""
        self._browser.wait(self._page.screenshot({"path": str(path), "fullPage": whole}))

    def open(self, path: str = "") -> None:
        """Open the page, or go to another one of it: `#/queues`."""
        self._browser.wait(self._page.goto(f"{self.url}/dashboard{path}"))

    def sign_in(self, key: str) -> None:
        """Sign in on a fresh page, and wait until it is live."""
        self.open()
        self.until("() => !!document.querySelector('#key')", "it asks for a key")
        self.fill("#key", key)
        self.press("Enter")

    def fill(self, selector: str, text: str) -> None:
        """Write a text into a field, in place of what it has."""
        self.eval("(selector) => { const f = document.querySelector(selector); f.focus(); f.value = ''; }", selector)
        self.write(text)

    def go(self, path: str, heading: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.eval("(hash) => { location.hash = hash; }", path)
        self.until(
            """(heading) => document.querySelector('h1')?.textContent === heading
               && !document.querySelector('main').textContent.includes('Loading…')""",
            f"{heading} is shown",
            heading,
        )

    def text(self, selector: str = "main") -> str:
        """Return the text of something."""
        return str(self.eval("(selector) => document.querySelector(selector)?.innerText ?? ''", selector))

    def until(self, script: str, what: str, *arguments: Any, within_s: float = SHOWN_S) -> Any:
        """Wait until a function of the page returns something true, and return it."""
        return eventually(
            lambda: self.eval(script, *arguments),
            within_s,
            lambda: f"{what}; the page shows: {self.text('body')[:3000]}\n{self.said}",
            poll_s=0.05,
        )

    def sees(self, words: str, selector: str = "main", *, within_s: float = SHOWN_S) -> None:
        """Wait until a text is to be read."""
        script = "(selector, words) => (document.querySelector(selector)?.innerText ?? '').includes(words)"
        self.until(script, f"{words!r} is shown", selector, words, within_s=within_s)

    def click(self, words: str) -> None:
        """Click the button or link that is called so; in a dialog while one is open."""
        self.until(
            f"(words) => {{ const one = ({_FIND})(words); one?.click(); return !!one; }}",
            f"{words!r} can be clicked",
            words,
        )

    def focused(self) -> str:
        """Return what has the focus: its tag and name."""
        return str(
            self.eval(
                "() => { const one = document.activeElement; return one.tagName.toLowerCase() + ' ' + "
                "(one.getAttribute('aria-label') ?? one.textContent).trim().slice(0, 60); }"
            )
        )

    def wrong(self) -> list[str]:
        """Return what axe finds wrong with what is seen, as rule and place."""
        if not self.eval("() => 'axe' in window"):
            # as the debugger does it: the page's own policy lets no script in
            self.eval(f"() => {{ {AXE.read_text()} }}")
        found = json.loads(
            self.eval(
                "async () => { const { violations, passes } = await axe.run(document); "
                "return JSON.stringify({ violations, passes: passes.map((one) => one.id) }); }"
            )
        )
        assert {"color-contrast", "heading-order"} <= set(found["passes"]), "axe looked at the page"
        return [
            f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
