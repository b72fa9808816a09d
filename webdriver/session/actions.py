"""Operators' actions on a browser session, as tasks: restart, wipe, pairing code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.clock import monotonic
from shared.process.tasks import Handler
from shared.store.tasks import Task, TaskFailed
from webdriver.chromium.browser import BrowserLost, CallTimedOut, ScriptFailed
from webdriver.page.bridge import PageRefused
from webdriver.session.session import NotNow
from webdriver.session.sessions import Sessions

_CODE_S: Final = 30.0
"""Longest wait for a pairing code, which the page requests from WhatsApp."""
_END_S: Final = 20.0
"""Longest wait for the old browser to end, which includes writing its profile."""


def handlers(sessions: Sessions) -> Mapping[str, Handler]:
    """Return the handler of each action. Each may be repeated after a death in the middle."""

    async def restart(task: Task) -> Mapping[str, Any]:
        session = await _possible(sessions.restart(_connection(task), monotonic() + _END_S))
        return {"state": session.state}

    async def wipe(task: Task) -> Mapping[str, Any]:
        await _possible(sessions.wipe(_connection(task), monotonic() + _END_S))
        return {"wiped": True}

    async def pair(task: Task) -> Mapping[str, Any]:
        session = sessions.find(_connection(task))
        if session is None:
            raise TaskFailed("conflict", "no session runs for this connection; set its desired state to linked")
        try:
            return {"code": await _possible(session.pairing_code(str(task.arguments["phone"]), monotonic() + _CODE_S))}
        # WhatsApp's own refusal, for example after too many codes: trying again would not help
        except PageRefused as refused:
            raise TaskFailed("refused", f"WhatsApp issues no code: {refused.code or refused.name}") from refused
        except (BrowserLost, CallTimedOut, ScriptFailed) as error:
            raise TaskFailed("unreachable", "the page did not answer") from error

    return {"restart_session": restart, "wipe_session": wipe, "request_pairing_code": pair}


async def _possible(work: Any) -> Any:
    try:
        return await work
    except NotNow as reason:
        raise TaskFailed("conflict", str(reason)) from reason


def _connection(task: Task) -> int:
    if task.connection_id is None:
        raise TaskFailed("conflict", "the connection is gone")
    return task.connection_id
