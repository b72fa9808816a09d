"""Channel decorator that reports the outcomes of sends to the session's failure detector."""

from __future__ import annotations

from shared.delivery.channel import Channel, RecordToken
from shared.messages import OutboundMessage, Outcome
from shared.store.messages import Doubt
from webdriver.session.sessions import Sessions


class OutcomeFeedback:
    """Sends through another channel. See `shared.delivery.channel.Channel`."""

    def __init__(self, inner: Channel, sessions: Sessions) -> None:
        self._inner, self._sessions = inner, sessions
        self.token_at_claim = inner.token_at_claim

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """See `Channel`."""
        outcome = await self._inner.send(message, record_token, by)
        # after the send: the session may have been stopped or removed meanwhile
        if session := self._sessions.find(message.connection_id):
            session.record_outcome(outcome)
        return outcome

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """See `Channel`."""
        return await self._inner.look_up(doubt)
