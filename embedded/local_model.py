"""A language model on this machine: the operator's own command (llama.cpp's server, vLLM, Ollama), kept running."""

from __future__ import annotations

import http.client
import shlex
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from embedded.failure import ServerUnusable
from embedded.server import ProbeResult, Server
from shared.settings import Settings

_HEALTH: Final = "/health"
"""Path of llama.cpp's and vLLM's health; a server without it answers 404, which shows that it serves."""
_LOADING: Final = 503
"""What llama.cpp answers while it reads its model."""


def probe(url: str, timeout_s: float = 0.5) -> ProbeResult:
    """Ask the server how it is: ready, still loading, or no answer."""
    parts = urlsplit(url)
    client = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout_s)
    try:
        client.request("GET", _HEALTH)
        status = client.getresponse().status
    # refused, late, or no HTTP: the same for a client, and the wrapper counts it
    except (OSError, http.client.HTTPException):
        return ProbeResult.SILENT
    finally:
        client.close()
    return ProbeResult.NOT_YET if status == _LOADING else ProbeResult.READY


def prepare(settings: Settings, known_as: Mapping[str, str]) -> Server:
    """Return how to run the server. Arguments as for `embedded.postgres.prepare`. Raises `ServerUnusable` when the
    command cannot be run."""
    try:
        command = shlex.split(str(settings.own("LOCAL_MODEL_COMMAND")))
    except ValueError as error:
        raise ServerUnusable(f"LOCAL_MODEL_COMMAND is no command: {error}") from error
    program = shutil.which(command[0]) if command else None
    if program is None:
        raise ServerUnusable(
            "LOCAL_MODEL_COMMAND names no program that can be run: install it, or write its whole path"
        )
    url, home = str(settings.own("LOCAL_MODEL_URL")), settings.path("model")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Server(
        command=[str(Path(program).absolute()), *command[1:]],
        # Nothing of this process's environment reaches it; `env NAME=VALUE program` gives it more.
        environ={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(home), **known_as},
        account=None,
        probe=lambda: probe(url),
        # it holds nothing that could be lost
        stop=signal.SIGTERM,
        now=signal.SIGKILL,
        orphaned=signal.SIGKILL,
        ends_by_signal=True,
    )
