"""The operators' page in a real browser: the door, what it shows, and that its own policy lets it work."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from typing import Any

import pyppeteer
import pytest

from shared.clock import utc_now
from shared.store import connections, processes
from tests.api.api_env import KEY, ApiEnv
from tests.support.waiting import eventually_async

SHOWN_S = 10.0


@pytest.fixture
def busy_env(api_env: ApiEnv) -> ApiEnv:
    """An API with something to show."""
    (connection_id,) = [
        row["id"] for row in api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 1")
    ]
    api_env.run(
        connections.observe,
        connection_id=connection_id,
        status="needs_link",
        incarnation="webdriver-0.a",
        proved_s=0.0,
        qr="2@a,b,c,d",
    )
    event = {
        "event": "quarantined",
        "process_name": "meta",
        "instance": 1,
        "incarnation": "",
        "detail": {"restarts": 11, "note": "<b>not bold</b>"},
    }
    api_env.run(
        processes.write_events,
        [{"boot_id": "dashboard", "seq": 1, "at": (utc_now() - timedelta(seconds=5)).isoformat()} | event],
    )
    api_env.send("one that waits")
    api_env.run(
        processes.write_heartbeat,
        processes.HeartbeatRow(
            kind="meta",
            instance=0,
            status="ready",
            uptime_s=1.0,
            memory_mb=80.0,
            connections=1,
            pid=1,
            host="elsewhere",
            incarnation="meta-0.x",
        ),
    )
    return api_env


async def look(api_env: ApiEnv) -> dict[str, Any]:
    """Open the page, try a wrong key, then the right one; return what is seen."""
    said: list[str] = []
    browser = await pyppeteer.launch(
        executablePath=shutil.which("chromium") or shutil.which("google-chrome"),
        args=["--no-sandbox", "--disable-dev-shm-usage"],
        handleSIGINT=False,
        handleSIGTERM=False,
        handleSIGHUP=False,
    )
    try:
        page = await browser.newPage()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))

        async def text(selector: str) -> str:
            return str(await page.evaluate(f"document.querySelector({selector!r})?.textContent ?? ''"))

        async def knock(key: str) -> None:
            await page.type("#key", key)
            await page.click("#door button")

        await page.goto(api_env.url + "/dashboard")
        await knock("wrong")
        await eventually_async(lambda: text("#refused"), SHOWN_S, "the wrong key is refused")
        hidden = await page.evaluate("document.getElementById('content').hidden")
        refused, said[:] = await text("#refused"), []
        await knock(KEY)
        drawn = (
            "() => { const image = document.querySelector('#codes img'); return image && "
            "image.complete ? image.naturalWidth : 0; }"
        )
        await eventually_async(lambda: page.evaluate(drawn), SHOWN_S, "the code to scan is drawn")
        seen = {
            name: await text(f"#{name}")
            for name in ("overall", "tiles", "processes", "connections", "queue", "events", "codes")
        }
        kept = await page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]")
        api_env.run(
            connections.observe, connection_id=_session_id(api_env), status="ready", incarnation="webdriver-0.a"
        )
        await eventually_async(
            lambda: page.evaluate("!document.querySelector('#codes img')"),
            SHOWN_S,
            "the code goes when the session is linked",
        )
        await page.setViewport({"width": 390, "height": 844})
        narrow = await page.evaluate(
            """() => ({
                width: document.documentElement.scrollWidth,
                states: [...document.querySelectorAll('#processes .pill, #connections .pill')]
                    .every((pill) => pill.getBoundingClientRect().right <= 390),
                unreachable: [...document.querySelectorAll('.scroll')].filter((box) => box.tabIndex !== 0).length,
            })"""
        )
        before, said_before = await page.evaluate("document.getElementById('overall').className"), list(said)
        await page.setOfflineMode(True)
        await eventually_async(
            lambda: page.evaluate("document.getElementById('overall').className === 'pill is-bad'"),
            SHOWN_S,
            "the page turns red when nothing answers",
        )
        silent = await text("#overall")
        return seen | {
            "refused": refused,
            "hidden": hidden,
            "kept": kept,
            "said": said_before,
            "narrow": narrow,
            "silent": (before != "pill is-bad", silent),
        }
    finally:
        await browser.close()


def _session_id(api_env: ApiEnv) -> int:
    return int(api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 1")[0]["id"])


def test_the_page_shows_the_current_state_and_only_with_the_key(busy_env: ApiEnv) -> None:
    seen = asyncio.run(look(busy_env))
    assert (seen["refused"], seen["hidden"]) == ("This key is wrong.", True)
    assert seen["kept"] == [1, 0, ""], "the key is kept in the tab and nowhere else"
    assert seen["overall"] == "degraded"
    assert seen["narrow"] == {"width": 390, "states": True, "unreachable": 0}
    assert seen["silent"] == (True, "no answer")
    assert "PostgreSQL" in seen["tiles"]
    assert "missing" in seen["tiles"], "there is no orchestrator here"
    assert "api-0" in seen["processes"]
    assert "alpha" in seen["connections"]
    assert "beta" in seen["connections"]
    assert "needs link" in seen["connections"]
    assert "queued" in seen["queue"]
    assert "Link alpha/1" in seen["codes"]
    assert "note <b>not bold</b>" in seen["events"], "nothing is ever read as HTML"
    assert seen["said"] == [], "no error and no violation of the page's own policy"
