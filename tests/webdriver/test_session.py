"""A session's life against the sandbox's page: linked, kept, killed, hung, crashed, logged out, refused."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from shared.states import DesiredSession, SessionState
from tests.support.waiting import deadline_s
from tests.webdriver.env import IMPATIENT, QUICK, SessionEnv, Web, chromiums, kill_browser, run, session_env, soon
from webdriver.session import sessions
from webdriver.session.policy import SessionPolicy

S = SessionState


async def restarted(here: SessionEnv, times: int = 1) -> None:
    """Wait until session 1 is ready after so many restarts."""
    await soon(lambda: here.session().restarts == times and here.session().page(), 20)


def test_is_linked_by_its_code_and_kept_by_its_profile(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as first:
            await first.link()
            # synchronising may be over before any client asks
            assert [state for state in first.store.states(1) if state is not S.SYNCING] == [
                S.STARTING,
                S.NEEDS_LINK,
                S.READY,
            ]
            killed = first.session().pid
            kill_browser(first.session())
            await soon(lambda: first.store.states(1)[-1:] == [S.READY] and S.BACKING_OFF in first.store.states(1))
            assert first.session().pid != killed
            assert S.NEEDS_LINK not in first.store.states(1)[4:], "the kept profile needed a new code"
            assert await soon(lambda: first.store.observed[1][-1][3]), "no proof of life was written"
        assert first.store.states(1)[-1] is S.ABSENT
        async with session_env(home, web) as second:
            second.store.want(1)
            await second.until(S.READY)
            assert S.NEEDS_LINK not in second.store.states(1)

    run(scenario())


def test_shows_a_new_code_when_the_old_one_is_too_old(home: Path, tmp_path: Path) -> None:
    web = Web(tmp_path / "rotating", code_life_s=0.5)

    async def scenario() -> None:
        async with session_env(home, web) as here:
            here.store.want(1)
            await here.until(S.NEEDS_LINK)
            first = here.store.qr(1)
            second = await soon(lambda: here.store.qr(1) != first and here.store.qr(1))
            assert first.split(",")[1:] == second.split(",")[1:], (
                "only the reference changes, the keys belong to the profile"
            )
            await asyncio.sleep(1.5)
            assert (await here.ask("/control/web/scan", {"code": first}))["status"] == 404

    try:
        run(scenario())
    finally:
        web.stop()


def test_hung_page_is_noticed_within_15_seconds_and_restarted(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web, SessionPolicy()) as here:
            await here.link()
            pid = here.session().pid
            await here.order("60111222333", "hang", {"amount": 60})
            hung_at = time.monotonic()
            await here.until(S.DEGRADED, within_s=15)
            assert here.session().page() is None, "a page that does not answer may not be sent to"
            detail = await here.passed(S.BACKING_OFF, within_s=15)
            assert time.monotonic() - hung_at < deadline_s(15)
            assert detail == "the page is hung"
            await here.until(S.READY)
            assert here.session().pid != pid

    run(scenario())


def test_crashed_tab_restarts_the_session(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            renderers = [
                pid for pid in chromiums(home) if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            for pid in renderers:
                os.kill(pid, signal.SIGKILL)
            await restarted(here)

    run(scenario())


def test_frozen_browser_is_replaced(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web, IMPATIENT) as here:
            await here.link()
            frozen = chromiums(home)
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            await here.until(S.DEGRADED)
            await restarted(here)
            assert not set(frozen) & set(chromiums(home))

    run(scenario())


def test_reload_and_script_errors_need_no_restart(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            before = len(here.store.observed[1])
            for order in ("script_error", "reload"):
                await here.order("60111222333", order)
            await soon(
                lambda: {S.DEGRADED, S.SYNCING} & {state for state, *_ in here.store.observed[1][before:]},
                describe=lambda: here.store.states(1),
            )
            await here.until(S.READY)
            assert here.session().restarts == 0

    run(scenario())


@pytest.mark.parametrize("linked", [True, False])
def test_a_document_that_shows_no_whatsapp_is_not_what_the_last_one_was(home: Path, web: Web, linked: bool) -> None:
    """Neither `ready` nor a code: about:blank answers every probe, and proves nothing."""
    policy = replace(QUICK, longest={S.DEGRADED: 2.0, S.STARTING: 60.0})

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            if linked:
                await here.link()
            else:
                here.store.want(1)
                await here.until(S.NEEDS_LINK)
            life = here.session()._life
            assert life and life.bridge
            await life.bridge._browser.go("about:blank", asyncio.get_running_loop().time() + 10)
            assert await here.passed(S.DEGRADED, within_s=8) == "the page loads again"
            assert (here.session().page(), here.store.qr(1)) == (None, "")
            assert await here.passed(S.BACKING_OFF, within_s=15) == "the page is degraded and stays so"
            await here.until(S.READY if linked else S.NEEDS_LINK)

    run(scenario())


def test_offline_and_conflict_are_shown_and_survived(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            await here.order("60111222333", "offline")
            await here.until(S.OFFLINE)
            await here.order("60111222333", "online")
            await here.until(S.READY)
            await here.order("60111222333", "mode", {"mode": "CONFLICT"})
            await here.until(S.CONFLICT)
            await here.order("60111222333", "mode", {"mode": "MAIN"})
            await here.until(S.READY)
            assert here.session().restarts == 0

    run(scenario())


def test_logout_on_the_phone_wipes_the_profile_and_shows_a_new_code(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            await here.order("60111222333", "logout")
            await here.until(S.NEEDS_LINK)
            assert S.LOGGED_OUT in here.store.states(1)
            await here.link()

    run(scenario())


def test_logout_and_pause_that_the_api_asks_for(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            here.store.want(1, DesiredSession.PAUSED)
            here.sessions.notify()
            await here.until(S.ABSENT)
            await soon(lambda: chromiums(home) == [])
            here.store.want(1)
            here.sessions.notify()
            await here.until(S.READY)
            here.store.want(1, DesiredSession.LOGGED_OUT)
            here.sessions.notify()
            await here.until(S.LOGGED_OUT)
            await soon(lambda: not (home / "sessions" / "1").exists())
            assert [entry.event for entry in web.ledger.scan()][-1] == "device_unlinked"
            here.store.want(1)
            here.sessions.notify()
            await here.until(S.NEEDS_LINK)

    run(scenario())


def test_the_profile_of_a_removed_connection_is_deleted_and_no_other(
    home: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_DELETE_EVERY_S", 0.2)
    other = home / "sessions" / "9"

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            # of a connection that this database does not know
            other.mkdir()
            del here.store.sessions[1]
            here.store.gone.add(1)
            await soon(lambda: not (home / "sessions" / "1").exists(), 30)
            assert chromiums(home) == []
            assert other.exists()

    run(scenario())


def test_account_that_whatsapp_refuses_is_quarantined_and_not_tried_again(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            await here.order("60111222333", "mode", {"mode": "TOS_BLOCK"})
            await here.until(S.QUARANTINED)
            assert "TOS_BLOCK" in here.session().detail
            await soon(lambda: chromiums(home) == [])

    run(scenario())


def test_too_many_restarts_within_an_hour_end_in_quarantine_with_a_late_retry(home: Path, web: Web) -> None:
    policy = replace(QUICK, connects_an_hour=3, quarantine_s=4.0)

    async def scenario() -> None:
        async with session_env(home, web, policy) as here:
            await here.link()
            for lives in range(1, 4):
                kill_browser(here.session())
                await restarted(here, lives)
            assert here.store.states(1).count(S.QUARANTINED) == 1

    run(scenario())


@pytest.mark.parametrize("path", ["/nonexistent/chromium", "/bin/false"])
def test_a_missing_or_broken_chromium_is_reported_and_affects_no_other(home: Path, web: Web, path: str) -> None:
    async def scenario() -> None:
        async with session_env(home, web, chromium_path=path) as here:
            here.store.want(1)
            detail = await here.passed(S.BACKING_OFF)
            assert (
                ("CHROMIUM_PATH=/nonexistent/chromium" in detail)
                if "nonexistent" in path
                else ("Chromium ended with 1" in detail)
            )
            assert here.session().page() is None
            assert here.session()._connects.count() == 0, "what never reached WhatsApp is no connect"

    run(scenario())


def test_unreachable_page_is_retried(home: Path, web: Web) -> None:
    web.stop()

    async def scenario() -> None:
        async with session_env(home, web) as here:
            here.store.want(1)
            assert "ERR_CONNECTION_REFUSED" in await here.passed(S.BACKING_OFF)
            await soon(lambda: here.session()._connects.count() == 0)
            await asyncio.to_thread(web.start)
            await here.until(S.NEEDS_LINK)

    run(scenario())


def test_one_sick_session_leaves_the_others_alone(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await asyncio.gather(*(here.link(number, f"6011122233{number}") for number in (1, 2)))
            healthy = here.session(2).pid
            before = len(here.store.states(2))
            kill_browser(here.session(1))
            await restarted(here)
            assert here.session(2).pid == healthy
            assert here.store.states(2)[before:] == []

    run(scenario())


def test_database_away_is_waited_out_and_nothing_observed_is_lost(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            here.store.away = True
            await here.order("60111222333", "offline")
            await soon(lambda: here.session().state is S.OFFLINE)
            await here.order("60111222333", "online")
            await soon(lambda: here.session().state is S.READY)
            assert S.OFFLINE not in here.store.states(1)
            here.store.away = False

            def but_syncing() -> list[S]:
                return [state for state in here.store.states(1) if state is not S.SYNCING]

            await soon(lambda: but_syncing()[-2:] == [S.OFFLINE, S.READY], describe=but_syncing)

    run(scenario())
