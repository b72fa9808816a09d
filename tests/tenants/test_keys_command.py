"""`bulkhead keys`, over the process of the API's entry file that carries it out; the running API takes the keys."""

from __future__ import annotations

import json
import subprocess
import sys

from shared.process.exit_codes import ExitCode
from tests.api.api_env import ApiEnv
from tests.support import environment
from tests.support.environment import SEALING_KEY
from tests.support.waiting import eventually

TAKEN_S = 5.0
"""Longest wait until the running API refuses a key, in seconds; the command promises one."""


def status(api_env: ApiEnv, key: str) -> int:
    """Return what the running API answers to a key."""
    return int(api_env.call("GET", "/api/v2/connections/alpha", key=key).status_code)


def keys(api_env: ApiEnv, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "orchestrator.py", "keys", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(
            bulkhead_home=api_env.entry.home, database_url=api_env.database_url, secret_encryption_key=SEALING_KEY
        ),
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
    assert status(api_env, key) == 200
    listed = keys(api_env, "list", "--company", "alpha", "--json")
    one = next(one for one in map(json.loads, listed.stdout.splitlines()) if key.startswith(one["prefix"]))
    assert (one["name"], one["scopes"]) == ("shop", ["send", "read"])
    rotated = keys(api_env, "rotate", one["id"], "--overlap", "0").stdout.removesuffix("\n")
    assert status(api_env, rotated) == 200
    # another process changed it: what the running API remembers of a key lasts for a second
    eventually(lambda: status(api_env, key) == 401, TAKEN_S, "the old text is refused")
    assert keys(api_env, "revoke", one["id"]).returncode == ExitCode.OK
    eventually(lambda: status(api_env, rotated) == 401, TAKEN_S, "the revoked key is refused")
    row = next(line for line in keys(api_env, "list").stdout.splitlines() if line.startswith(f"{one['id']} "))
    assert "revoked" in row
    assert key not in keys(api_env, "list").stdout


def test_what_is_missing_or_refused_is_said(api_env: ApiEnv) -> None:
    assert keys(api_env, "add", "--name", "x").returncode == ExitCode.USAGE
    assert keys(api_env, "rotate").returncode == ExitCode.USAGE
    refused = keys(api_env, "revoke", "999999")
    assert (refused.returncode, refused.stderr) == (
        ExitCode.USAGE,
        "There is no such key.\n`bulkhead keys list` shows them.\n",
    )
    assert keys(api_env, "add", "--name", "x", "--scopes", "all").returncode == ExitCode.USAGE
