"""`send CHAT [TEXT]`: accept one message as the API does, and wait until it left."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from shared.process.exit_codes import ExitCode
from supervision.commands.command_exits import CommandExit, CommandRefused
from supervision.commands.context import Context
from supervision.commands.entry_process import operations
from supervision.commands.options import as_json, company, count, within

_SENT: Final = frozenset({"sent", "delivered", "read", "deleted"})
_FILE_MOST: Final = 16 * 1024 * 1024
"""Bytes of a file: what a JSON body of the API takes (docs/api.md)."""
_TYPES: Final = ("image", "video", "audio")
"""Types of messages that are named as the main type of their files; other files are documents."""
_WAIT_MOST: Final = 60
"""Seconds that one request waits at most (docs/api.md)."""


@click.command("send", short_help="Send one message, and wait until it left.")
@click.argument("chat", metavar="CHAT")
@click.argument("text", metavar="[TEXT]", default="")
@company("Of this company.  [default: COMPANY_ID]")
@click.option("--index", type=count(0), default=0, show_default=True, metavar="N", help="Through this connection.")
@click.option("--file", type=click.Path(path_type=Path), default=None, help="A file to send; TEXT is its caption.")
@click.option("--body", default="", metavar="JSON", help='Anything else: \'{"type": "template", "name": "hello", …}\'.')
@click.option("--key", default="", metavar="TEXT", help="Idempotency key: the same key sends once, however often.")
@within(30.0, "How long to wait until it left, in seconds, at most 60; 0: do not.")
@as_json("The message as JSON.")
@click.pass_obj
def command(
    context: Context,
    chat: str,
    text: str,
    company: str,
    index: int,
    file: Path | None,
    body: str,
    key: str,
    within: float,
    as_json: bool,
) -> int:
    """Send one message to CHAT, a number with country code or any id of a chat.

    Leaves with 0 when the message was sent, 1 when it failed or did not leave in time; it then goes on waiting.
    """
    message = {"phoneIndex": index, **_content(text, file, body)}
    place = f"/api/v2/messages/{quote(company or context.known().company_id, safe='')}/{quote(chat, safe='')}"
    headers = {"prefer": f"wait={min(int(within), _WAIT_MOST)}", **({"idempotency-key": key} if key else {})}
    with operations(context) as api:
        answer = api.call("POST", place, message, headers=headers)
        status = answer["status"]
        if status == "failed":
            answer = api.call("GET", f"{place}/{answer['id']}")
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"Message {answer['id']} is {status}.{_why(answer)}")
    if status in _SENT or (not within and status == "queued"):
        return ExitCode.OK
    if not as_json and status != "failed":
        click.echo(f"It goes on: bulkhead messages show {chat} {answer['id']}", err=True)
    return CommandExit.UNWELL


def _content(text: str, file: Path | None, body: str) -> dict[str, Any]:
    """Return what a message consists of. Raises `click.UsageError` and `CommandRefused`."""
    if sum((bool(text) or file is not None, bool(body))) != 1:
        raise click.UsageError("give TEXT, --file (with TEXT as its caption), or --body")
    if body:
        try:
            found = json.loads(body)
        except ValueError:
            raise click.UsageError('--body is not JSON; write \'{"type": "location", …}\'') from None
        if not isinstance(found, dict):
            raise click.UsageError("--body is not a JSON object")
        return found
    return {"type": "text", "message": text} if file is None else _of_file(file, text)


def _of_file(file: Path, caption: str) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = opened.read(_FILE_MOST + 1)
    except OSError as problem:
        raise CommandRefused(f"{file} cannot be read: {problem.strerror}", ExitCode.USAGE) from None
    if len(content) > _FILE_MOST:
        raise CommandRefused(
            f"{file} has more than 16 MiB; upload it first: POST /api/v2/media (docs/api.md)", ExitCode.USAGE
        )
    mimetype = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    main = mimetype.partition("/")[0]
    made = {
        "type": main if main in _TYPES else "document",
        "data": base64.b64encode(content).decode(),
        "mimetype": mimetype,
        "filename": file.name,
    }
    return made | ({"caption": caption} if caption else {})


def _why(answer: dict[str, Any]) -> str:
    error = answer.get("error") or {}
    said = " ".join(str(error[name]) for name in ("code", "detail") if error.get(name))
    return f" {said}" if said else ""
