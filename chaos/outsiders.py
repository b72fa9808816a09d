"""Posts statuses of another installation, another company, or an earlier attempt to our webhooks. None of them may
change the state of a message.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any, Final

from chaos.follow_up import FollowUp
from chaos.installation import ChaosInstallation, NeverHappened
from chaos.judge import AcceptedMessage
from chaos.ledger import LedgerReader
from chaos.load import ChaosLoad
from chaos.tenants import ATTACKER
from shared.clock import left, monotonic

_AT_ONCE: Final = 40
"""Statuses in one POST, as many as in observed attacks."""
_RECENT: Final = 200
"""How many of the newest messages are candidates: older ones are in a final state."""
_POSTS: Final = 10
_POST_EVERY_S: Final = 0.1
"""Seconds between POSTs: an attack lasts a second, so that some POSTs are processed together with true statuses."""
_REFUSED_S: Final = 1.5
"""Seconds for the provider's refusals to arrive."""
_PATIENCE_S: Final = 20.0
"""Seconds for which a call to the API is repeated: a connection must not stay paused because a process was just killed.
"""
_FAILED: Final = {"code": 131026, "title": "Message undeliverable"}


class Outsiders:
    """Posts these statuses.

    Args:
        seed: for random choices.
    """

    def __init__(
        self, installation: ChaosInstallation, load: ChaosLoad, ledger: LedgerReader, follow_up: FollowUp, seed: int
    ) -> None:
        self._installation, self._load, self._ledger, self._follow_up = installation, load, ledger, follow_up
        self._dice = random.Random(seed)  # noqa: S311 - dice, not secrets

    async def second_installation(self) -> None:
        """Report deliveries of another installation on the same account, whose message ids equal ours. Raises
        `NeverHappened`.
        """
        # one POST contains one account's statuses, as at Meta
        for account, messages in self._by_account(self._waiting()).items():
            statuses = [
                status("delivered", f"wamid.second-{message.id}", message.recipient, token)
                for message in messages
                for token in self._tokens(message.id)
            ]
            await post_signed(self._installation, account, statuses)

    async def repeated_failure(self) -> None:
        """Report the failure of an attempt again while the redriven message waits, with and without its callback data.
        Raises `NeverHappened`.

        One connection is paused meanwhile, so that its redriven messages are still queued when the old failure arrives.
        """
        chat = self._dice.choice([chat for chat in self._load.chats if self._gets_webhooks(chat.account)])
        connection = f"/api/v2/connections/{chat.company}/{chat.phone_index}"
        fault = {"fault": "fail_later", "count": 3, "phone_number_id": chat.account}
        # `fail_later`: three messages of this number are accepted and then refused by a status; these are redriven
        # below
        if (armed := await self._installation.sandbox("POST", "faults", body=fault)) is None or armed.status != 200:
            raise NeverHappened("the provider is away")
        await asyncio.sleep(_REFUSED_S)
        await self._api("POST", connection + "/pause")
        try:
            # at once: the redriven messages must be queued, and unsent, before the old failures are posted
            await self._follow_up.round()
            waiting = [message for message in self._recent() if message.account == chat.account and message.redrives]
            # the oldest send is the attempt that failed
            sends = [self._ledger.sends[message.text][0] for message in waiting if message.text in self._ledger.sends]
            if sends:
                with_token = [status("failed", one.provider_id, one.recipient, one.callback) for one in sends]
                without = [status("failed", one.provider_id, one.recipient, "") for one in sends]
                await post_signed(self._installation, chat.account, with_token + without)
        # also after a cancellation: a paused connection would keep its messages open until the end of the run
        finally:
            await self._api("POST", connection + "/resume")
        if not sends:
            raise NeverHappened("a message of this number was redriven")

    async def other_tenant(self) -> None:
        """Report failures of all companies' newest and next messages through the attacker's own address. Raises
        `NeverHappened`.
        """
        headers = {"X-Bulkhead-Webhook-Secret": ATTACKER.secret}
        for _ in range(_POSTS):
            # ids are row numbers, so that an attacker can guess those of other companies and of future messages
            newest = max((int(message.id) for message in self._load.accepted), default=0)
            statuses = [
                status("failed", f"wamid.attack-{number}", "15550100200", token)
                for number in range(max(1, newest - _AT_ONCE // 4), newest + _AT_ONCE)
                for token in self._tokens(str(number), same_installation=True)
            ]
            if await self._installation.webhook(ATTACKER.path, _body(ATTACKER.account, statuses), headers) is None:
                raise NeverHappened("the webhook address answered")
            await asyncio.sleep(_POST_EVERY_S)

    async def _api(self, method: str, path: str) -> None:
        by = monotonic() + _PATIENCE_S
        while (answer := await self._installation.api(method, path)) is None or answer.status != 200:
            if left(by) <= 0:
                raise NeverHappened(f"{method} {path} was answered")
            await asyncio.sleep(_POST_EVERY_S)

    def _gets_webhooks(self, account: str) -> bool:
        """Whether the provider posts for an account: an event of a silent one would prove that its door is open."""
        return bool(account) and account not in self._load.silent

    def _recent(self) -> list[AcceptedMessage]:
        return [message for message in self._load.accepted[-_RECENT:] if self._gets_webhooks(message.account)]

    def _waiting(self) -> list[AcceptedMessage]:
        """Return messages that may not have been sent yet: scheduled ones, and the newest."""
        now = time.time()
        scheduled = [
            message
            for message in self._load.accepted
            if self._gets_webhooks(message.account) and (message.send_at or 0.0) > now
        ]
        return (scheduled + self._recent()[-_AT_ONCE // 2 :])[:_AT_ONCE]

    def _tokens(self, message_id: str, *, same_installation: bool = False) -> list[str]:
        """Return callback data that names a message: in the plain form, and in our form with our or another
        installation's name.
        """
        # earlier versions made tokens without an installation's name, which are still read
        tokens = [f"bulkhead:{message_id}:1"]
        known = next((send.callback for sends in self._ledger.sends.values() for send in sends), "")
        # one of our tokens serves as the pattern, so that this file does not repeat how tokens are made
        parts = known.split(":")
        if len(parts) > len(tokens[0].split(":")):
            name = parts[1] if same_installation else f"{self._dice.getrandbits(48):012x}"
            tokens.append(":".join([parts[0], name, message_id, "1"]))
        return tokens

    @staticmethod
    def _by_account(messages: Sequence[AcceptedMessage]) -> dict[str, list[AcceptedMessage]]:
        if not messages:
            raise NeverHappened("there is a message to report about")
        found: dict[str, list[AcceptedMessage]] = {}
        for message in messages:
            found.setdefault(message.account, []).append(message)
        return found


async def post_signed(
    installation: ChaosInstallation, account: str, statuses: Sequence[dict[str, Any]], *, at: float | None = None
) -> None:
    """Post statuses of a number, signed as Meta signs. `at`: Meta's time of the event in seconds since 1970; None: now.
    Raises `NeverHappened`.
    """
    answer = await installation.sandbox("POST", "posts", body={"json": _body(account, statuses, at)})
    if answer is None or answer.status != 200:
        raise NeverHappened("the provider is away")


def status(word: str, provider_id: str, recipient: str, callback: str) -> dict[str, Any]:
    """Return a status of now in the form of the Cloud API."""
    return {
        "id": provider_id,
        "status": word,
        "timestamp": str(int(time.time())),
        "recipient_id": recipient,
        **({"biz_opaque_callback_data": callback} if callback else {}),
        **({"errors": [_FAILED]} if word == "failed" else {}),
    }


def _body(account: str, statuses: Sequence[dict[str, Any]], at: float | None = None) -> dict[str, Any]:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783001", "phone_number_id": account},
        "statuses": list(statuses),
    }
    # the sandbox's account ids are those of their numbers with a higher first digit
    changes = [{"field": "messages", "value": value}]
    entry = {"id": f"2{account[1:]}", "time": int(time.time() if at is None else at), "changes": changes}
    return {"object": "whatsapp_business_account", "entry": [entry]}
