"""The data that the parts of one WhatsApp change share: its connections, field and number, and the names of its
people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from meta.events.values import instant, mapping, name, objects, phone, text

HISTORY: Final = "history"
"""Field of changes that bring messages from before the number was connected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of one entry, about one number or one account.

    Attributes:
        path: of its value, for problems. happened_at: its newest part, by the provider's time; a webhook may come days
            later. entry_time: of its entry, as it came. business: the number's own digits; empty: not given.
        names, usernames: of profiles, by wa_id and user id. name: its field.
    """

    path: str
    received_at: datetime
    happened_at: datetime
    entry_time: Any
    name: str
    connections: Sequence[int]
    business: str
    # names of customers must not get into a traceback or log
    names: Mapping[str, str] = field(repr=False)
    usernames: Mapping[str, str] = field(repr=False)

    def instant(self, part: Mapping[str, Any]) -> datetime:
        """Return when a part happened, or when it was received if it has no readable instant."""
        return instant(part.get("timestamp"), self.received_at)

    def is_business(self, number: str) -> bool:
        """Whether a number is the connection's own."""
        return bool(self.business) and phone(number) == self.business

    @property
    def is_history(self) -> bool:
        """Whether its messages were written before the number was connected."""
        return self.name == HISTORY


def names_in(value: Mapping[str, Any]) -> dict[str, str]:
    """Return profile names by wa_id and user id."""
    return _of_contacts(value, profile_name)


def usernames_in(value: Mapping[str, Any]) -> dict[str, str]:
    """Return usernames by wa_id and user id."""
    return _of_contacts(value, username)


def _of_contacts(value: Mapping[str, Any], read: Callable[[Mapping[str, Any]], str]) -> dict[str, str]:
    return {
        who: found
        for contact in objects(value.get("contacts"))
        if (found := read(contact))
        for who in (name(contact.get("user_id")), name(contact.get("wa_id")))
        if who
    }


def username(contact: Mapping[str, Any]) -> str:
    """Return the name by which a person may be addressed instead of a number; empty when it is not given."""
    return text(mapping(contact.get("profile")).get("username") or contact.get("username"))[:200]


def profile_name(contact: Mapping[str, Any]) -> str:
    """Return a person's name as their profile has it; empty when it is not given."""
    return text(mapping(contact.get("profile")).get("name"))[:400]
