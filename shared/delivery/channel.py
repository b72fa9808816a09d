"""What a channel must provide to the delivery of messages."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from shared.messages import OutboundMessage, Outcome
from shared.store.messages import Doubt


class RecordToken(Protocol):
    """Stores the id that a message will have at the provider, and notes that from now on the provider may have it.

    Called once, right before the request can leave; until then a death proves that nothing was sent.
    """

    def __call__(self, token: str, /, link: str = "") -> Awaitable[None]:
        """Store the token, and the link whose page alone can later show the outcome of the attempt; empty: any process
        with the provider's account can.

        Raises:
            Fenced: the row is no longer ours; nothing may be sent.
            StoreUnavailable: the id could not be stored; nothing may be sent.
        """


class Channel(Protocol):
    """One way to reach people, for all connections of a process kind.

    Attributes:
        token_at_claim: the message's token is written with the claim (`bulkhead:<installation>:<row
            id>:<attempt>:<instant of acceptance>`), and `record_token` is called with that very token; otherwise the
            channel chooses one.
    """

    token_at_claim: bool

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """Send one message.

        Args:
            message: the claimed row. record_token: see `RecordToken`. by: monotonic instant after which no process
                waits for the answer.
        Returns:
            Its outcome. A request that may have been carried out is `InDoubt`, never `Retry`.
        """

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """Find out the outcome of a message in doubt.

        Returns:
            `Sent` or `Dead` with proof, `Retry` with evidence that it was not sent, None as long as nothing can be
            said; `InDoubt` while there is nothing to query (a browser session that is not back yet): the window of the
            policy does not count then.
        """
