"""Reads the provider's ledger: arrivals of one run's messages in a common form, and the statuses that were delivered to
us; pure except for the reader.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.installation import ChaosInstallation
from chaos.judge import ProviderArrival


def _file(part: Mapping[str, Any], files: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    return part.get("caption", ""), {"sha256": files.get(part.get("id", ""), ""), "filename": part.get("filename", "")}


def _template(part: Mapping[str, Any], _: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    parameters = [one for component in part.get("components", []) for one in component.get("parameters", [])]
    text = next((one["text"] for one in parameters if one.get("type") == "text"), "")
    return text, {"name": part["name"], "language": part["language"]["code"]}


_CONTENTS: Final[Mapping[str, Callable[[Any, Mapping[str, str]], tuple[str, dict[str, Any]]]]] = {
    "text": lambda part, _: (part["body"], {"body": part["body"]}),
    **dict.fromkeys(("image", "video", "audio", "document", "sticker"), _file),
    "location": lambda part, _: (part.get("name", ""), {name: part[name] for name in ("latitude", "longitude")}),
    "contacts": lambda part, _: (part[0]["name"]["formatted_name"], {}),
    "interactive": lambda part, _: (
        part["body"]["text"],
        {"buttons": [row["reply"]["id"] for row in part["action"].get("buttons", [])]},
    ),
    "template": _template,
    "reaction": lambda part, _: ("", {"emoji": part["emoji"]}),
}
"""Readers of the Cloud API's message types."""


def reaction_to(text: str) -> str:
    """Return the name of the reaction to a message, whose content has no room for a text."""
    return f"reaction to {text}"


def content_of(type_: str, body: Mapping[str, Any], files: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the unique text of a message in the Cloud API's form, and its content as the judge compares it.

    Args:
        files: SHA-256 of uploaded files by the provider's media id.
    """
    read = _CONTENTS.get(type_)
    return read(body[type_], files) if read else ("", {})


def _page_content(entry: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return type, unique text and content of a message that a page sent."""
    if entry.get("type") == "location":
        return "location", str(entry.get("loc", "")), {"latitude": entry.get("lat"), "longitude": entry.get("lng")}
    if entry["event"] == "edit_arrived":
        return "edit", entry["body"], {"body": entry["body"]}
    if "sha256" in entry:
        return str(entry["type"]), str(entry.get("caption", "")), {"sha256": entry["sha256"]}
    return "text", entry["body"], {"body": entry["body"]}


def received_messages(
    entries: Iterable[Mapping[str, Any]],
    mark: str,
    files: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    ids: dict[str, str] | None = None,
) -> list[ProviderArrival]:
    """Return the arrivals of one run's messages: ledger entries whose text begins with `mark`.

    Args:
        files: see `content_of`. names: texts of messages that arrive without one, by the SHA-256 of a file or by
            `reaction_to` of another text. ids: texts of arrivals by the provider's id; grows.
    """
    found = []
    known = {} if ids is None else ids
    for entry in entries:
        account = recipient = ""
        if entry["event"] == "accepted" and isinstance(entry.get("message"), dict):
            type_ = entry.get("type", "text")
            text, content = content_of(type_, entry["message"], files or {})
            account, recipient = entry.get("phone_number_id", ""), entry.get("to", "")
        elif entry["event"] in ("message_arrived", "edit_arrived"):
            type_, text, content = _page_content(entry)
            number, _, server = str(entry.get("chat", "")).partition("@")
            # a lid is another name of the same person, which only the page can resolve
            recipient = "" if server == "lid" else number
        else:
            continue
        if not text and names:
            target = known.get(entry["message"]["reaction"]["message_id"], "") if type_ == "reaction" else ""
            text = names.get(reaction_to(target) if target else content.get("sha256", ""), "")
        # the ledger of a joined installation has other messages too
        if text.startswith(mark):
            known[entry.get("id", "")] = text
            found.append(
                ProviderArrival(
                    seq=entry["seq"],
                    at=entry["at"],
                    text=text,
                    account=account,
                    recipient=recipient,
                    type=type_,
                    content=content,
                    # the sandbox's entry of an arrival lists the statuses that will follow
                    is_refused=entry.get("plan") == ["failed"],
                    # a code and not only an HTTP status, so that the response is the provider's own
                    is_denied=entry.get("fault") == "5xx_after_accept" and entry.get("code") is not None,
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class ProviderSend:
    """The provider's ids of one arrival, as its statuses use them."""

    provider_id: str
    callback: str
    account: str
    recipient: str


@dataclass
class LedgerReader:
    """Follows the ledger's file.

    Args:
        names: see `arrivals_of`; may grow.
    Attributes:
        arrivals: of one run's messages, in the ledger's order. faults: number of sends and webhooks of the run that an
            armed fault changed, by its name.
        times: how often each text arrived. statuses: those delivered to us, by the number of the arrival's entry.
        sends: the provider's ids of each arrival, by the message's text, oldest first. seq: number of the last entry
            read.
    """

    installation: ChaosInstallation
    mark: str
    names: Mapping[str, str] = field(default_factory=dict)
    began_at: float = field(default_factory=time.time)
    received: list[ProviderArrival] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    sends: dict[str, list[ProviderSend]] = field(default_factory=lambda: defaultdict(list))
    _statuses: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _meta: set[int] = field(default_factory=set)
    _files: dict[str, str] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _offset: int = 0
    seq: int = 0

    @property
    def statuses(self) -> dict[int, frozenset[str]]:
        """The delivered statuses of each arrival whose provider reports by webhook."""
        return {seq: frozenset(self._statuses.get(seq, ())) for seq in self._meta}

    def read(self) -> None:
        """Read the entries that were added since the last call."""
        entries = []
        for entry in self.installation.ledger(self._offset):
            # from a byte offset: the file of a long run has hundreds of thousands of lines, and is read four times a
            # second
            self._offset, self.seq = entry["end"], entry["seq"]
            entries.append(entry)
            match entry["event"]:
                case "media_uploaded":
                    self._files[entry["id"]] = entry["sha256"]
                # only posts that were answered 200: Bulkhead cannot know a status that never reached it
                case "taken" if entry["channel"] == "webhook":
                    for update in entry["updates"]:
                        self._statuses[update["seq"]].add(update["kind"])
        self.faults.update(entry["fault"] for entry in entries if entry.get("fault") and entry["at"] >= self.began_at)
        new = received_messages(entries, self.mark, self._files, self.names, self._ids)
        self.received += new
        self.times.update(arrival.text for arrival in new)
        by_seq = {entry["seq"]: entry for entry in entries}
        for arrival in new:
            # pages have neither account nor callback data
            if arrival.account:
                self._meta.add(arrival.seq)
                entry = by_seq[arrival.seq]
                self.sends[arrival.text].append(
                    ProviderSend(entry["id"], entry["callback"], arrival.account, arrival.recipient)
                )
