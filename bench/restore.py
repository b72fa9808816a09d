"""`restore`: a backup under load, and back on an empty machine: how long each step takes, and whether all is there."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bench.commands import command, timed
from bench.figures import Figures
from bench.installation import Installation, running
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

_FILE_BYTES: Final = 100_000
"""About a picture of a phone."""
_CHAT: Final = "15550100300"
_DIGESTS: Final = {
    "companies": "SELECT count(*), md5(string_agg(id, ',' ORDER BY id)) FROM companies WHERE %s > 0",
    "messages": "SELECT count(*), md5(string_agg(md5(concat_ws('|', id, chat_id, state, content)), '' ORDER BY id)) "
    "FROM messages WHERE id <= %s",
    "events of messages": "SELECT count(*), md5(string_agg(md5(concat_ws('|', message_id, at, state)), '' ORDER BY id))"
    " FROM events WHERE message_id <= %s",
}
"""What is compared up to a message: a count and a digest."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--messages", type=int, default=20_000, help="messages that are sent before the backup")
    parser.add_argument("--rate", type=float, default=400.0, help="messages a second while they are sent")
    parser.add_argument("--files", type=int, default=500, help="files of messages, of 100 kB each")
    parser.add_argument("--profile-mb", type=int, default=50, help="size of a browser profile")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.messages, given.rate, given.files, given.profile_mb = 200, 100.0, 5, 1


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="restore", parameters=vars(given))
    # a short prefix: the home contains socket files
    folder = Path(tempfile.mkdtemp(prefix="bhr-"))
    archive, home = folder / "backup.tar", folder / "n"
    # of the stand-ins, whose secrets belong to a home; with real providers they are in the database
    secrets: dict[str, Any] = {
        name: f"bench-{os.urandom(12).hex()}"
        for name in ("sandbox_access_token", "sandbox_d360_api_key", "sandbox_d360_webhook_secret", "meta_app_secret")
    }
    try:
        with running(**secrets) as installation:
            last = _fill(installation, given)
            before = _contents(installation, last)
            # the program goes on accepting and sending meanwhile
            spec = installation.spec(seconds=15.0, rate=50.0, chats=200, first_chat=15_559_000_000)
            with installation.load(spec):
                backup_s = timed(lambda: command(installation.bulkhead, "backup", str(archive)))
            variables = installation.bulkhead.variables | {"BULKHEAD_HOME": str(home)}
        # the first machine is gone: its home, its database, its Redis
        size = archive.stat().st_size
        fresh = Bulkhead(home, variables)
        restore_s = timed(lambda: command(fresh, "restore", str(archive)))
        try:
            start_s = timed(lambda: fresh.start().wait_ready("recorder", "api", "meta", "sandbox"))
            after = _contents(Installation(fresh), last)
            sent_s = timed(lambda: _send(fresh))
        finally:
            fresh.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures.values |= {
        "archive MB": round(size / 1e6, 1),
        "backup under load s": backup_s,
        "restore into an empty home s": restore_s,
        "start until ready s": start_s,
        "resume until a message is sent s": sent_s,
        "restore, start and send s": round(restore_s + start_s + sent_s, 2),
        "restored": {name: count for name, (count, _) in after.items()},
        "different": [name for name, value in before.items() if after[name] != value],
    }
    return figures


def _fill(installation: Installation, given: argparse.Namespace) -> int:
    """Make messages, files and a profile; returns the last message."""
    # without webhooks, nothing changes any more once all are sent
    installation.provider(latency_ms=0.0, statuses="")
    spec = installation.spec(seconds=given.messages / given.rate, rate=given.rate, chats=2_000)
    installation.run_load(spec)
    installation.wait_idle()
    home = installation.bulkhead.home
    media, profile = home / "media" / "demo", home / "sessions" / "2" / "Default"
    for folder in (media, profile):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(given.files):
        (media / f"picture-{number}").write_bytes(os.urandom(_FILE_BYTES))
    for number in range(given.profile_mb):
        (profile / f"part-{number}").write_bytes(os.urandom(1_000_000))
    return int(installation.rows("SELECT max(id) FROM messages")[0][0])


def _contents(installation: Installation, last: int) -> dict[str, tuple[int, str]]:
    """Return a count and a digest of everything that must come back."""
    found: dict[str, Any] = {name: installation.rows(query, last)[0] for name, query in _DIGESTS.items()}
    for name in ("media", "sessions"):
        files = sorted(path for path in (installation.bulkhead.home / name).rglob("*") if path.is_file())
        files = [path for path in files if path.name.startswith(("picture-", "part-"))]
        whole = sha256(b"".join(sha256(path.read_bytes()).digest() for path in files))
        found[f"files of {name}"] = (len(files), whole.hexdigest())
    return found


def _send(bulkhead: Bulkhead) -> None:
    """Resume the connection as an operator does, and wait until a message is sent by it."""
    command(bulkhead, "connections", "resume", "0", "--company", "demo")
    path = f"/api/v2/messages/text/demo/{_CHAT}"
    answer = bulkhead.api("POST", path, json={"message": "we are back", "phoneIndex": 0})
    answer.raise_for_status()
    place = answer.headers["Location"]
    eventually(lambda: bulkhead.api("GET", place).json()["status"] == "sent", 60.0, "a message is sent")
