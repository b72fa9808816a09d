"""`bulkhead keys`, against the real API."""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.parse import urlsplit

from shared.process.exit_codes import ExitCode
from supervision.commands.context import Answer
from tests.api.api_env import KEY, ApiEnv
from tests.support import environment


def keys(api_env: ApiEnv, *words: str) -> subprocess.CompletedProcess[str]:
    port = urlsplit(api_env.url).port
    return subprocess.run(
        [sys.executable, "orchestrator.py", "keys", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=api_env.entry.home, api_key=KEY, api_port=port),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_key_is_made_used_rotated_and_revoked(api_env: ApiEnv) -> None:
    made = keys(api_env, "add", "--name", "shop", "--company", "alpha", "--scopes", "send,read")
    assert made.returncode == ExitCode.OK, made.stderr
    # the key alone, for a shell's `$(…)`
    key = made.stdout.removesuffix("\n")
    assert api_env.call("GET", "/api/v2/connections/alpha", key=key).status_code == 200
    listed = keys(api_env, "list", "--company", "alpha", "--json")
    one = next(one for one in map(json.loads, listed.stdout.splitlines()) if key.startswith(one["prefix"]))
    assert (one["name"], one["scopes"]) == ("shop", ["send", "read"])
    rotated = keys(api_env, "rotate", one["id"], "--overlap", "0").stdout.removesuffix("\n")
    assert [api_env.call("GET", "/api/v2/connections/alpha", key=one).status_code for one in (key, rotated)] == [
        401,
        200,
    ]
    assert keys(api_env, "revoke", one["id"]).returncode == ExitCode.OK
    assert api_env.call("GET", "/api/v2/connections/alpha", key=rotated).status_code == 401
    row = next(line for line in keys(api_env, "list").stdout.splitlines() if line.startswith(f"{one['id']} "))
    assert "revoked" in row
    assert key not in keys(api_env, "list").stdout


def test_what_is_missing_or_refused_is_said(api_env: ApiEnv) -> None:
    assert keys(api_env, "add", "--name", "x").returncode == ExitCode.USAGE
    assert keys(api_env, "rotate").returncode == ExitCode.USAGE
    refused = keys(api_env, "revoke", "999999")
    assert (refused.returncode, refused.stderr) == (Answer.UNWELL, "There is no such key.\n")
    assert keys(api_env, "add", "--name", "x", "--scopes", "all").returncode == Answer.UNWELL
