"""Public types of events, as data: what clients read and webhooks carry, and from which internal type each is made.

A name is part of the contract: rows are added, never renamed. What is no row here stays inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Shape = Literal[
    "message", "session", "connection", "template", "contact", "conversation", "process", "hook", "alert", "document"
]
"""What `data` holds; each has a schema (`shared.events.schemas`)."""


TEST_TYPE: Final = "hook.test"
"""Public type of the events that are for one webhook alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicType:
    """One type.

    Attributes:
        purpose: what it says, for people. shape: of its `data`. made_of: internal type (`shared.events.types`); empty:
            the same name. `process.*` stands for all types of a subject, which keep their own names.
        is_installations: it belongs to no company: only keys and webhooks of the installation get it.
    """

    name: str
    purpose: str
    shape: Shape
    made_of: str = ""
    is_installations: bool = False


PUBLIC_TYPES: Final[tuple[PublicType, ...]] = (
    PublicType(name="message.received", shape="message", purpose="A message came in."),
    PublicType(
        name="message.echoed",
        shape="message",
        purpose="A message was written on the company's own phone, or in the provider's app.",
    ),
    PublicType(name="message.sent", shape="message", purpose="The provider took the message."),
    PublicType(name="message.delivered", shape="message", purpose="The provider says that it arrived."),
    PublicType(name="message.read", shape="message", purpose="The provider says that it was read or played."),
    PublicType(
        name="message.failed",
        shape="message",
        purpose="It is not tried again without a human; `error` says why.",
    ),
    PublicType(
        name="message.held",
        shape="message",
        purpose="It may have been sent and is left to a human to resolve; `error` says why.",
    ),
    PublicType(name="message.edited", shape="message", purpose="Its words were changed."),
    PublicType(
        name="message.deleted", shape="message", purpose="It was cancelled while queued, or deleted for everyone."
    ),
    PublicType(
        name="session.desired",
        shape="session",
        made_of="session.wanted",
        purpose="An operator set what the session should be; `detail` is that state.",
    ),
    PublicType(name="session.linked", shape="session", purpose="A phone was linked to the session."),
    PublicType(name="session.state", shape="session", purpose="The session is in another state."),
    PublicType(name="connection.created", shape="connection", purpose="A connection was added."),
    PublicType(
        name="connection.updated",
        shape="connection",
        purpose="Its account, credentials or options were changed.",
    ),
    PublicType(name="connection.paused", shape="connection", purpose="Its queue is held; `detail` is the reason."),
    PublicType(name="connection.resumed", shape="connection", purpose="It sends again."),
    PublicType(name="connection.removed", shape="connection", purpose="It was ended; `detail` is the reason."),
    PublicType(
        name="template.updated",
        shape="template",
        purpose="The provider reported another status, quality or category of a template.",
    ),
    PublicType(
        name="contact.created",
        shape="contact",
        purpose="A contact wrote or was written to for the first time, or was imported.",
    ),
    PublicType(
        name="contact.updated",
        shape="contact",
        purpose="Name, tags or custom fields of a contact were changed; `changed` says which.",
    ),
    PublicType(
        name="contact.merged",
        shape="contact",
        purpose="`otherContactId` is the same contact from now on: by hand, or since the provider named both ids.",
    ),
    PublicType(
        name="contact.split",
        shape="contact",
        purpose="`otherContactId` is a contact of its own from now on.",
    ),
    PublicType(name="document.uploaded", shape="document", purpose="A document was uploaded; it waits to be indexed."),
    PublicType(
        name="document.indexed",
        shape="document",
        purpose="It is searched from now on; with the status `no_text` there is nothing to search.",
    ),
    PublicType(
        name="document.failed",
        shape="document",
        purpose="It cannot be indexed; `reason` says why, and what to do.",
    ),
    PublicType(
        name="conversation.created",
        shape="conversation",
        purpose="A customer wrote for the first time, and the assistant or a human answers.",
    ),
    PublicType(
        name="conversation.updated",
        shape="conversation",
        purpose="Its state or who looks after it was changed, or another one was merged into it.",
    ),
    PublicType(
        name="human_handoff.requested",
        shape="conversation",
        purpose="A customer waits for a human; `reason` says why.",
    ),
    PublicType(
        name="hook.disabled",
        shape="hook",
        purpose="A webhook gets nothing more: it answered 410 (`gone`), or took nothing for days (`failing`).",
    ),
    PublicType(name="hook.test", shape="hook", purpose="A test, asked for by an operator; sent to that webhook alone."),
    PublicType(
        name="alert.fired",
        shape="alert",
        is_installations=True,
        purpose="An alert of the installation is on, and not silenced ([alerts.md](alerts.md)); for keys of the "
        "installation.",
    ),
    PublicType(
        name="alert.ended",
        shape="alert",
        is_installations=True,
        purpose="It is off again.",
    ),
    PublicType(
        name="process.*",
        shape="process",
        is_installations=True,
        purpose="A process started, became ready, exited, …; for keys of the installation.",
    ),
)

_BY_INTERNAL: Final[Mapping[str, PublicType]] = {row.made_of or row.name: row for row in PUBLIC_TYPES}


def public_type(internal: str) -> PublicType | None:
    """Return the public type that is made of an internal one, None when it stays inside."""
    return _BY_INTERNAL.get(internal) or _BY_INTERNAL.get(f"{internal.partition('.')[0]}.*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which events a client wants.

    Attributes:
        company_id: only this company's; None: all, and those of the installation. types: public names; empty: all.
        is_installations: only those of the installation.
    """

    company_id: str | None
    types: frozenset[str] = frozenset()
    is_installations: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` for a name that selects nothing: a misspelled one would do so in silence."""
        offered = {row.name for row in PUBLIC_TYPES if self._is_offered(row)}
        if unknown := sorted(name for name in self.types if not offered.intersection(expand([name]))):
            raise ValueError(f"no types of events: {', '.join(unknown)}")

    def rows(self) -> list[PublicType]:
        """Return the selected types."""
        names = expand(self.types) if self.types else [row.name for row in PUBLIC_TYPES]
        return [row for row in PUBLIC_TYPES if row.name in names and self._is_offered(row)]

    def _is_offered(self, row: PublicType) -> bool:
        if self.is_installations:
            return row.is_installations
        return self.company_id is None or not row.is_installations

    def internal(self) -> tuple[list[str], list[str]]:
        """Return the internal types, and the subjects of which every type is selected."""
        sources = [row.made_of or row.name for row in self.rows()]
        wild = [source.removesuffix(".*") for source in sources if source.endswith(".*")]
        return [source for source in sources if not source.endswith(".*")], wild


def expand(names: Iterable[str]) -> list[str]:
    """Return the names of rows that names and patterns (`message.*`) select."""
    given = set(names)
    subjects = {name.removesuffix(".*") for name in given if name.endswith(".*")}
    return [row.name for row in PUBLIC_TYPES if row.name in given or row.name.partition(".")[0] in subjects]
