"""Accepts one row exactly once or not at all: its idempotency key, and a commit whose response was lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from shared.errors import Refused, StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.origin import random_id
from shared.store.messages import Accepted, NewMessage

log = logger(__name__)

# the second try returns the outcome of the first; a third would query a database that was lost twice
_TRIES: Final = 2


class RowAcceptor(Protocol):
    """What `shared.delivery.accept.Acceptor` promises."""

    async def accept(self, message: NewMessage) -> Accepted:
        """Commit one message; raises `StoreUnavailable`."""


def own_key() -> str:
    """Return a key for a request without one, so that its row can be found. It starts with a blank, which no client's
    key can hold."""
    return f" {random_id(16)}"


def fingerprint(asked: Sequence[Any]) -> str:
    """Return a digest of the request; the same key with another digest is a conflict."""
    # 16 bytes: a conflict must not be missed by a collision
    return hashlib.blake2b(json.dumps(asked, ensure_ascii=True).encode(), digest_size=16).hexdigest()


async def accept(acceptor: RowAcceptor, message: NewMessage) -> Accepted:
    """Accept one message, which has the client's key or a generated one, exactly once or not at all.

    A commit whose answer was lost is repeated with the same key in a fresh transaction: the unique key waits for the
    end of the first one and answers with its row, or accepts the message now.

    Raises:
        Refused: the key was used for another request, or the database was lost in the commit twice.
        StoreUnavailable: the database is away; nothing was accepted.
    """
    lost_commit = False
    for _ in range(_TRIES):
        try:
            accepted = await acceptor.accept(message)
        except StoreUnavailable as error:
            # surely nothing was written by this try, nor by the first: the caller may repeat it
            if not error.may_be_done and not lost_commit:
                raise
            log.warning("commit_answer_lost", reason=str(error))
            # the row may exist: only the database knows, and a repetition with the same key finds it
            lost_commit = True
            continue
        hit("accept.answering")
        if accepted.conflict:
            raise Refused(
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request.",
                messageId=str(accepted.id),
            )
        # after a lost commit the row may be our own first try: only a key that was used before is a replay
        return replace(accepted, replayed=False) if accepted.replayed and lost_commit else accepted
    raise Refused("acceptance_unknown", "PostgreSQL was lost while the message was written; it may have been accepted.")
