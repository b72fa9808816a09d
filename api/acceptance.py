"""Accepting one message for a client: its idempotency key, and a commit whose answer was lost."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from starlette.datastructures import Headers

from api.problems import Problem
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.store.messages import Accepted, NewMessage

log = logger(__name__)

_CLIENTS_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_TRIES: Final = 2


class Acceptor(Protocol):
    """What `shared.delivery.accept.Acceptor` promises."""

    async def accept(self, message: NewMessage) -> Accepted:
        """Commit one message; raises `StoreUnavailable`."""


def read_key(headers: Headers) -> str | None:
    """Return the client's idempotency key, None when it sent none. Raises `Problem` for one that cannot be used."""
    given = headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _CLIENTS_KEY.fullmatch(given[0]):
        raise Problem(
            "header_invalid",
            "Idempotency-Key must stand once, with 1 to 255 visible ASCII characters.",
            header="Idempotency-Key",
        )
    return given[0]


def own_key() -> str:
    """Return a key for a request without one, so that its row can be found. It starts with a blank, which no client's key can hold."""
    return f" {uuid.uuid4().hex}"


def fingerprint(asked: Sequence[Any]) -> str:
    """Return a digest of what was asked for; the same key with another digest is a conflict."""
    return hashlib.blake2b(json.dumps(asked, ensure_ascii=True).encode(), digest_size=16).hexdigest()


async def accept(acceptor: Acceptor, message: NewMessage) -> Accepted:
    """Accept one message, which has the client's key or one of our own, surely or not at all.

    A commit whose answer was lost is asked for again with the same key, in a fresh transaction: the unique key waits for the first one's end and
    answers with its row, or takes the message now.

    Raises:
        Problem: the key was used for another request; the database is away (nothing was accepted), or was lost twice in the commit.
    """
    lost_commit = False
    for _ in range(_TRIES):
        try:
            accepted = await acceptor.accept(message)
        except StoreUnavailable as error:
            if not error.may_be_done and not lost_commit:
                raise
            log.warning("commit_answer_lost", reason=str(error))
            lost_commit = True
            continue
        hit("accept.answering")
        if accepted.conflict:
            raise Problem(
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request.",
                messageId=str(accepted.id),
            )
        # after a lost commit the row may be our own first try: only a key that the client used before is a replay
        return replace(accepted, replayed=False) if accepted.replayed and lost_commit else accepted
    raise Problem(
        "acceptance_unknown",
        "PostgreSQL was lost while the message was written; it may have been accepted.",
        headers={"Retry-After": "2"},
    )
