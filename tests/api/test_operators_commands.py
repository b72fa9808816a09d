"""Commands that are carried out by the API's operations: messages and webhooks from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shared.process.exit_codes import ExitCode
from supervision.commands.command_exits import CommandExit
from tests.api.api_env import ApiEnv
from tests.support import environment
from tests.support.environment import SEALING_KEY

CHAT = "15550188041"
"""No other test writes to it: lists of all companies are compared whole."""


def command(api_env: ApiEnv, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the orchestrator's command over the database of the running API."""
    return subprocess.run(
        [sys.executable, "orchestrator.py", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(
            bulkhead_home=api_env.entry.home,
            database_url=api_env.database_url,
            redis_url=api_env.redis_url,
            secret_encryption_key=SEALING_KEY,
            company_id="alpha",
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_message_is_sent_found_and_shown(api_env: ApiEnv, tmp_path: Path) -> None:
    words = ("send", CHAT, "the platypus is here", "--within", "0", "--key", "once", "--json")
    first, again = command(api_env, *words), command(api_env, *words)
    assert first.returncode == again.returncode == ExitCode.OK, first.stderr
    sent = json.loads(first.stdout)
    assert (sent["status"], sent["chatId"]) == ("queued", CHAT)
    assert json.loads(again.stdout)["id"] == sent["id"], "the same key sends once"

    # no process sends here: it goes on waiting, and the command says where to look
    late = command(api_env, "send", CHAT, "later", "--within", "1")
    assert late.returncode == CommandExit.UNWELL
    assert f"bulkhead messages show {CHAT} " in late.stderr

    picture = tmp_path / "dot.png"
    picture.write_bytes(
        bytes.fromhex(
            "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc33"
            "0000000049454e44ae426082"
        )
    )
    file = command(api_env, "send", CHAT, "a dot", "--file", str(picture), "--within", "0", "--json")
    assert file.returncode == ExitCode.OK, file.stderr
    shown = command(api_env, "messages", "show", CHAT, json.loads(file.stdout)["id"])
    assert shown.returncode == ExitCode.OK
    assert "image" in shown.stdout and "a dot" in shown.stdout and "queued" in shown.stdout

    listed = command(api_env, "messages", "search", "--chat", CHAT, "--json", "--company", "all")
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {one["companyId"] for one in found} == {"alpha"}
    assert sent["id"] in {one["id"] for one in found}
    table = command(api_env, "messages", "search", "--chat", CHAT, "-n", "1").stdout
    assert CHAT in table and "platypus" not in table, "texts do not end up in tickets"

    refused = command(api_env, "send", CHAT, "x", "--company", "nobody")
    assert (refused.returncode, "bulkhead companies list" in refused.stderr) == (ExitCode.USAGE, True)
    wrong = command(api_env, "send", CHAT, "--body", '{"type": "text", "message": "", "colour": 1}')
    assert wrong.returncode == ExitCode.USAGE
    unknown = command(api_env, "messages", "show", CHAT, "999999")
    assert (unknown.returncode, "bulkhead messages search" in unknown.stderr) == (ExitCode.USAGE, True)


def test_webhooks_of_the_installation_are_managed(api_env: ApiEnv) -> None:
    url = "https://example.com/alerts"
    made = json.loads(
        command(api_env, "hooks", "add", url, "--installation", "--type", "alert.*", "--json").stdout or "{}"
    )
    named = (made["id"], "--installation")
    assert url in command(api_env, "hooks", "list", "--installation").stdout
    assert url not in command(api_env, "hooks", "list").stdout
    assert json.loads(command(api_env, "hooks", "show", *named).stdout)["types"] == ["alert.*"]
    assert command(api_env, "hooks", "pause", *named).stdout == "It is paused.\n"
    assert command(api_env, "hooks", "resume", *named).stdout == "It is active.\n"
    assert "is being delivered" in command(api_env, "hooks", "test", *named).stdout
    assert command(api_env, "hooks", "deliveries", *named).stdout == "No such deliveries.\n"
    both = command(api_env, "hooks", "show", *named, "--company", "alpha")
    assert (both.returncode, "not both" in both.stderr) == (ExitCode.USAGE, True)
    assert command(api_env, "hooks", "remove", *named).stdout == f"Removed: {url}.\n"
    gone = command(api_env, "hooks", "show", *named)
    assert (gone.returncode, "bulkhead hooks list" in gone.stderr) == (ExitCode.USAGE, True), gone.stderr


def test_webhooks_are_managed(api_env: ApiEnv) -> None:
    # the company may have those of other tests
    url = "http://127.0.0.1:9/managed-by-commands"
    made = command(api_env, "hooks", "add", url, "--type", "message.*", "--header", "A=b")
    assert made.returncode == ExitCode.OK, made.stderr
    # the secret alone, for a shell's `$(…)`
    assert made.stdout.startswith("whsec_") and made.stdout.count("\n") == 1
    listed = [json.loads(line) for line in command(api_env, "hooks", "list", "--json").stdout.splitlines()]
    (one,) = [hook for hook in listed if hook["url"] == url]
    assert (one["types"], one["headers"]) == (["message.*"], ["A"])
    place = one["id"]
    assert command(api_env, "hooks", "pause", place).stdout == "It is paused.\n"
    assert "paused" in command(api_env, "hooks", "--company", "all").stdout
    assert command(api_env, "hooks", "resume", place).stdout == "It is active.\n"
    assert "is being delivered" in command(api_env, "hooks", "test", place).stdout
    assert command(api_env, "hooks", "replay", place, "--since", "1h").returncode == ExitCode.OK
    assert command(api_env, "hooks", "replay", place, "--dead").stdout == "Delivered again: 0 events.\n"
    assert command(api_env, "hooks", "deliveries", place).stdout == "No such deliveries.\n"
    assert command(api_env, "hooks", "remove", place).stdout == f"Removed: {url}.\n"
    changed = command(api_env, "hooks", "add", url).stderr.split()[1].strip(".")
    other = f"{url}/other"
    assert other in command(api_env, "hooks", "change", changed, "--url", other).stdout
    assert command(api_env, "hooks", "rotate", changed).stdout.startswith("whsec_")
    command(api_env, "hooks", "remove", changed)
    gone = command(api_env, "hooks", "test", place)
    assert (gone.returncode, "bulkhead hooks list" in gone.stderr) == (ExitCode.USAGE, True)
