"""Linking without a picture, starting anew, wiping, and a page that is pinned."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import sandbox.web
from shared.clock import monotonic
from shared.states import SessionState
from shared.store.tasks import Task, TaskFailed
from tests.support.waiting import patient_by
from tests.webdriver.env import SessionEnv, Web, run, session_env, soon
from webdriver.session import actions

S = SessionState
PHONE = "60111222333"


def task(operation: str, connection_id: int | None = 1, **arguments: Any) -> Task:
    """Return a task as the API adds it."""
    return Task(
        id=1,
        company_id="demo",
        connection_id=connection_id,
        process_name="webdriver",
        operation=operation,
        arguments=arguments,
        sealed="",
        attempt=1,
        created_at=datetime.now(UTC),
        left_s=60.0,
    )


async def do(here: SessionEnv, operation: str, connection_id: int | None = 1, **arguments: Any) -> Any:
    """Carry out what an operator asks for."""
    return await actions.handlers(here.sessions)[operation](task(operation, connection_id, **arguments))


def test_a_pairing_code_links_as_a_scan_does(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            here.store.want(1)
            here.sessions.notify()
            await here.until(S.NEEDS_LINK)
            code = (await do(here, "request_pairing_code", phone=PHONE))["code"]
            assert len(code) == 8
            scanned = await here.ask("/control/web/scan", {"code": code, "phone": PHONE})
            assert scanned["phone"] == PHONE
            await here.until(S.READY)
            assert [event for event, *_ in here.store.events[1] if event != "state"] == ["pairing_code", "linked"]
            with pytest.raises(TaskFailed, match="it waits for no code"):
                await do(here, "request_pairing_code", phone=PHONE)
            for connection_id in (None, 9):
                with pytest.raises(TaskFailed, match="conflict"):
                    await do(here, "request_pairing_code", connection_id, phone=PHONE)

    run(scenario())


def test_a_restart_keeps_the_link_and_a_wipe_does_not(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            first = here.session().pid
            assert (await do(here, "restart_session"))["state"] == S.STARTING
            await here.until(S.READY, within_s=40)
            assert here.session().pid != first
            assert here.session().restarts == 0
            assert S.NEEDS_LINK not in here.store.states(1)[4:]

            wiping = asyncio.create_task(do(here, "wipe_session"))
            while not wiping.done():
                # no round may start it on a profile that is being removed
                here.sessions.notify()
                await asyncio.sleep(0.01)
            assert await wiping == {"wiped": True}
            await soon(lambda: here.store.states(1)[-1:] == [S.NEEDS_LINK], 40, lambda: here.store.states(1))
            assert "wiped" in [event for event, *_ in here.store.events[1]]
            await here.link()
            with pytest.raises(TaskFailed, match="no session runs"):
                await do(here, "restart_session", 9)
            kept = home / "sessions" / "9"
            kept.mkdir(parents=True)
            await do(here, "wipe_session", 9)
            assert not kept.exists(), "also the profile of a session that does not run"

    run(scenario())


def test_a_pinned_build_is_what_the_page_gets_and_no_worker_replaces_it(home: Path, web: Web, tmp_path: Path) -> None:
    page = (Path(sandbox.web.__file__).parent / "index.html").read_text()
    build = tmp_path / "build.html"
    build.write_text(page.replace("<title>Web sandbox</title>", "<title>Pinned</title>"))

    async def scenario() -> None:
        async with session_env(home, web, web_build=build) as here:
            await here.link()
            bridge = here.session().page()
            assert bridge

            async def ask(expression: str) -> Any:
                return await bridge._browser.evaluate(expression, patient_by(10), "asking")

            assert await ask("document.title") == "Pinned"
            asked = "navigator.serviceWorker.register('/web/page/page.js').then(() => 'taken', (error) => error.name)"
            assert await ask(asked) == "SecurityError"
            update = "fetch('/check-update?version=1').then((answer) => answer.status, (error) => error.name)"
            assert await ask(update) == "TypeError", "the question for updates was let through"
            assert await ask("fetch('/web/page/page.css').then((answer) => answer.status)") == 200
            await here.order(PHONE, "reload")
            await soon(lambda: S.SYNCING in here.store.states(1)[4:], 20)
            await here.until(S.READY)
            assert await ask("document.title") == "Pinned"
            assert here.session().restarts == 0

    run(scenario())


def test_a_build_that_is_not_there_is_said(home: Path, web: Web, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with session_env(home, web, web_build=tmp_path / "none.html") as here:
            here.store.want(1)
            assert "none.html" in await here.passed(S.BACKING_OFF)

    run(scenario())


def test_as_many_sessions_start_at_once_as_are_allowed(home: Path, web: Web) -> None:
    most = 2

    async def scenario() -> None:
        async with session_env(home, web, starts=asyncio.Semaphore(most)) as here:
            for number in range(1, 6):
                here.store.want(number)
            here.sessions.notify()
            highest = 0
            by = patient_by(60)
            while monotonic() < by and here.sessions.count(S.NEEDS_LINK) < 5:
                # one that is past its start has given its place back a moment ago at most
                highest = max(
                    highest,
                    sum(session.pid is not None and session.state is S.STARTING for session in here.sessions.all()),
                )
                await asyncio.sleep(0.02)
            assert here.sessions.count(S.NEEDS_LINK) == 5
            assert 1 <= highest <= most

    run(scenario())
