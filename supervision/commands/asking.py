"""Requests to the API of the installation in this home, for commands that need nothing else."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final

from shared.settings import Settings
from supervision.commands.context import is_running
from supervision.ipc.control import NoOrchestrator

_ANSWER_S: Final = 75.0
"""Seconds to wait for a response: the API itself waits up to 60 s for a task (`Prefer: wait=60` below)."""


class Unanswered(Exception):
    """Raised when the API does not answer, or refuses; the text says which."""


def call(settings: Settings, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return what the API answers. Raises `Unanswered`."""
    status, answer = ask(settings, method, path, body)
    decoded = json.loads(answer)
    if status >= http.client.BAD_REQUEST:
        raise Unanswered(decoded.get("detail", f"the API answers {status}"))
    return decoded


def ask(settings: Settings, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    """Return status and body of the API's answer, whatever it is. Raises `Unanswered` when there is none."""
    if not settings.api_key and not is_running(settings.bulkhead_home):
        # Nothing was ever started here: what answers at the port is another copy, which would only ask for a key.
        raise NoOrchestrator(f"Nothing runs over {settings.bulkhead_home}.")
    # compared, not bound
    host = "127.0.0.1" if settings.bind_address in ("0.0.0.0", "::", "") else settings.bind_address  # noqa: S104
    line = http.client.HTTPConnection(host, settings.port("api"), timeout=_ANSWER_S)
    headers = {
        "Authorization": f"Bearer {settings.api_key}",
        "Prefer": "wait=60",
        **({"Content-Type": "application/json"} if body is not None else {}),
    }
    try:
        line.request(method, path, None if body is None else json.dumps(body), headers)
        answer = line.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        # Most often nothing runs at all, which has an exit code of its own; asked only now, since an API may answer
        # without an orchestrator.
        if not is_running(settings.bulkhead_home):
            raise NoOrchestrator(f"Nothing runs over {settings.bulkhead_home}.") from None
        raise Unanswered(
            f"the API at {host}:{settings.port('api')} does not answer ({type(error).__name__})"
        ) from error
    finally:
        line.close()
