"""The phones behind the page: links, arrivals, the timing of acks, and faults.

A *device* is one browser profile, with an id of its own choice. A scan links it to a *phone number* and gives it a
credential, so that a kept profile needs no second scan. Links and arrivals are read from the ledger at the start, so
that they survive a kill.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from sandbox.web.devices import (
    DELIVERED,
    READ,
    SENT,
    Device,
    DeviceArrival,
    DeviceRefused,
    Mode,
    PageStream,
    lid_of,
    resolve_chat,
)
from sandbox.web.files import DirectoryFiles


class PhoneLedgerEntry(Protocol):
    """The part of a ledger entry that is used here."""

    @property
    def event(self) -> str:
        """What happened."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its other fields."""


class PhoneLedger(Protocol):
    """The part of `sandbox.ledger.Ledger` that is used here."""

    def append(self, channel: str, event: str, **fields: Any) -> Any:
        """Write one entry."""

    def entries(self, since: int = 0, channel: str | None = None) -> Iterable[PhoneLedgerEntry]:
        """Return entries, oldest first."""


_EVENTS: Final[Mapping[tuple[str, str], str]] = {
    ("protocol", "message_edit"): "edit_arrived",
    ("protocol", "sender_revoke"): "revoke_arrived",
    ("reaction", ""): "reaction_arrived",
}
"""Ledger events of arrivals that are not messages of their own, by type and subtype; any other is `message_arrived`."""

_SIGNALS: Final[Mapping[str, str]] = {
    "read": "read_arrived",
    "deleted": "deleted_for_me",
    "composing": "typing_arrived",
    "recording": "typing_arrived",
    "paused": "typing_arrived",
}
"""Signals of the page, and their ledger events."""

_LEDGER_FIELDS: Final = (
    "caption",
    "lat",
    "lng",
    "loc",
    "vcardFormattedName",
    "vcardList",
    "forwarded",
    "target",
    "media",
)
"""Fields of an arrival that the ledger keeps when they are not empty."""


class Phones:
    """Every device and phone of the sandbox. Belongs to one event loop.

    Args:
        ledger: records arrivals, links and control calls under channel `web`.
        files: directory for files of the phones and their customers.
        code_life_s: seconds until a new QR code replaces the shown one.
    """

    def __init__(self, ledger: PhoneLedger, files: Path, *, code_life_s: float = 20.0) -> None:
        self._ledger = ledger
        self.files = DirectoryFiles(files)
        self.code_life_s = code_life_s
        self._devices: dict[str, Device] = {}
        self._arrived: dict[tuple[str, str], DeviceArrival] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self.closed = asyncio.Event()
        for entry in ledger.entries(channel="web"):
            self._recall(entry)

    def _recall(self, entry: PhoneLedgerEntry) -> None:
        row = entry.fields
        if entry.event == "device_linked":
            device = self._known(row["device"])
            device.phone, device.credential, device.mode = row["phone"], row["credential"], "SYNCING"
        elif entry.event == "device_unlinked":
            device = self._known(row["device"])
            device.phone, device.credential, device.mode = "", "", "QR"
        # counts of arrivals must survive a kill of the sandbox: a repetition afterwards is still a duplicate
        elif entry.event in {"message_arrived", *_EVENTS.values()}:
            self._arrived.setdefault((row["phone"], row["message_id"]), DeviceArrival(row["chat"])).times += 1

    def close(self) -> None:
        """End every page's event stream and drop the timers. Call it before the server stops, which otherwise waits for
        the pages.
        """
        self.closed.set()
        for timer in self._timers:
            timer.cancel()
        for device in self._devices.values():
            if device.line:
                device.line.end()

    # what the page asks

    def connect(self, device_id: str, credential: str) -> tuple[Device, PageStream]:
        """Open a page's event stream. An older page of the same device enters CONFLICT. A page with an unknown
        credential is logged out.
        """
        device = self._known(device_id)
        line = PageStream()
        if device.line:
            # WhatsApp lets one page of a profile be active; the newest one wins
            device.line.push(type="stream", mode="CONFLICT", info="NORMAL")
        device.line = line
        # the link of this profile was ended while it was away
        if credential and credential != device.credential:
            line.push(type="logout", reason="unknown_companion_device_no_key")
        elif credential and device.mode in ("TOS_BLOCK", "SMB_TOS_BLOCK", "PROXYBLOCK", "DEPRECATED_VERSION"):
            self._push_mode(device, device.mode)
        elif credential:
            self._synchronise(device)
        else:
            self._unlink(device)
            self._push_mode(device, "QR")
        return device, line

    def disconnect(self, device: Device, line: PageStream) -> None:
        """Close a page's event stream."""
        # a reload opens the new stream before the end of the old one is noticed
        if device.line is line:
            device.line = None

    def next_code(self, device: Device) -> str:
        """Make a new code for the QR picture; the previous one stays valid for the same time again."""
        now = time.monotonic()
        ref = "2@" + secrets.token_urlsafe(48)
        # one older code stays valid: a phone may have read it just before the picture changed
        device.refs = [*[row for row in device.refs if row[1] > now][-1:], (ref, now + 2 * self.code_life_s)]
        return ref

    def pair(self, device: Device) -> str:
        """Return a new pairing code for `device`, eight characters."""
        # no 0, O, I or U: they are easily misread
        device.pairing_code = "".join(secrets.choice("123456789ABCDEFGHJKLMNPQRSTVWXYZ") for _ in range(8))
        return device.pairing_code

    def device(self, device_id: str, credential: str | None = None) -> Device:
        """Return a device by its id or its phone number. Raises `DeviceRefused`: 404 unknown, 401 wrong credential."""
        device = self._devices.get(device_id) or next(
            (row for row in self._devices.values() if row.phone and row.phone == device_id), None
        )
        if device is None:
            raise DeviceRefused(404, "unknown_device", f"no device and no linked phone is called {device_id!r}")
        if credential is not None and (
            # an unlinked device has an empty credential, which must not match an empty one
            not device.credential or not secrets.compare_digest(credential, device.credential)
        ):
            raise DeviceRefused(401, "unknown_companion_device_no_key", "this profile is not linked")
        return device

    def only_waiting(self) -> Device:
        """Return the one device that shows a code now.

        Raises `DeviceRefused`: 404 when none does, 409 when several do.
        """
        waiting = [device for device in self._devices.values() if device.line is not None and device.mode == "QR"]
        if len(waiting) != 1:
            names = ", ".join(device.id for device in waiting) or "none"
            raise DeviceRefused(
                409 if waiting else 404,
                "which_device",
                f"devices that show a code: {names}; name one by 'device' or 'code'",
            )
        return waiting[0]

    async def take(self, device: Device, message: Mapping[str, Any]) -> dict[str, Any]:
        """Accept one message from the page and return the response.

        Raises:
            Refused: 503 while the phone is away.
        """
        # before any counting: such a send does not arrive
        if device.faults.fail_sends:
            code = device.faults.fail_sends.pop(0)
            self._ledger.append("web", "send_failed", phone=device.phone, message_id=message["id"], code=code)
            return {"ack": -1, "result": code}
        # checked after the wait, during which the phone may go offline
        await self._hold(device.faults.hold_before_s)
        if device.away or not device.credential:
            raise DeviceRefused(503, "offline", "the phone is away")
        kind = (str(message.get("type", "chat")), str(message.get("subtype") or ""))
        media = message.get("media")
        # WhatsApp uploads a file first and sends its hash
        if media and not self.files.has(media["filehash"]):
            raise DeviceRefused(409, "file_missing", "the file must be there before its message")
        arrival = self._arrived.setdefault((device.phone, message["id"]), DeviceArrival(message["chat"]))
        arrival.times += 1
        self._ledger.append(
            "web",
            _EVENTS.get(kind, "message_arrived"),
            phone=device.phone,
            chat=message["chat"],
            message_id=message["id"],
            type=kind[0],
            body=message["body"],
            # tests compare long texts by hash
            body_sha256=hashlib.sha256(message["body"].encode()).hexdigest(),
            quoted=message.get("quoted"),
            times=arrival.times,
            **{name: message[name] for name in _LEDGER_FIELDS if message.get(name)},
            **({"sha256": self.files.sha256(media["filehash"])} if media else {}),
        )
        # only messages are delivered and read; an edit or a reaction has no acks of its own
        if kind not in _EVENTS:
            self._later(device.faults.delivered_after_s, device, message["id"], DELIVERED)
            self._later(device.faults.read_after_s, device, message["id"], READ)
        # after the entry: the message has arrived, but the page does not know yet
        await self._hold(device.faults.hold_after_s)
        # held until the sandbox stops: the page must find the ack by `synced`
        if SENT in device.faults.lose_acks:
            await self.closed.wait()
        return {"ack": arrival.ack, "result": "OK"}

    def signal(self, device: Device, chat: str, kind: str, ids: Iterable[str]) -> None:
        """Accept a signal: read marks, presence, deletions on the own devices. Raises `DeviceRefused`: 503 away, 400
        unknown.
        """
        if device.away or not device.credential:
            raise DeviceRefused(503, "offline", "the phone is away")
        if kind not in _SIGNALS:
            raise DeviceRefused(400, "unknown_signal", f"known are {', '.join(_SIGNALS)}")
        details = {"state": kind} if _SIGNALS[kind] == "typing_arrived" else {"message_ids": list(ids)}
        self._ledger.append("web", _SIGNALS[kind], phone=device.phone, chat=chat, **details)

    def synced(self, device: Device, pending: Iterable[str]) -> dict[str, int]:
        """Return the acks of the page's pending messages that have arrived here."""
        return {
            name: self._arrived[device.phone, name].ack for name in pending if (device.phone, name) in self._arrived
        }

    def confirm(self, device: Device, ids: Iterable[str]) -> None:
        """The page has stored these messages."""
        for name in ids:
            device.waiting.pop(name, None)

    # control calls

    def devices(self) -> list[dict[str, Any]]:
        """Return every device as the control API shows it."""
        return [
            {
                "device": device.id,
                "phone": device.phone,
                "lid": lid_of(device.phone) if device.phone else "",
                "mode": device.mode,
                "open": device.line is not None,
                "waiting": len(device.waiting),
                "pairing_code": device.pairing_code,
                "faults": vars(device.faults),
            }
            for device in self._devices.values()
        ]

    def scan(self, code: str, phone: str) -> Device:
        """Link the device that shows `code` (the QR's text or a pairing code) to `phone`.

        Raises:
            Refused: 404 when no device shows it any more.
        """
        ref, now = code.partition(",")[0], time.monotonic()
        device = next(
            (
                row
                for row in self._devices.values()
                if any(ref == known and now < end for known, end in row.refs) or code == row.pairing_code
            ),
            None,
        )
        if device is None or not code:
            raise DeviceRefused(404, "code_expired", "no page shows this code now; read the newest one")
        return self.link(device, phone)

    def link(self, device: Device, phone: str) -> Device:
        """Link `device` to `phone` (digits; empty: a number made from its id); another device of that phone is logged
        out.

        Raises:
            Refused: 409 when `device` is linked already.
        """
        # derived from the id, so that a profile linked twice without a number gets the same phone
        number = phone or "6011" + str(int(hashlib.sha256(device.id.encode()).hexdigest(), 16) % 10**8).zfill(8)
        if device.credential:
            raise DeviceRefused(409, "already_linked", "this device is linked; log it out first")
        for other in [row for row in self._devices.values() if row.phone == number]:
            # a phone has one linked device here, so that its number alone distinguishes arrivals
            self.log_out(other, "replaced")
        device.phone, device.credential, device.refs, device.pairing_code = number, secrets.token_urlsafe(24), [], ""
        self._ledger.append("web", "device_linked", device=device.id, phone=number, credential=device.credential)
        self._push(device, type="linked", phone=number, lid=lid_of(number), credential=device.credential)
        self._synchronise(device)
        return device

    def write(
        self,
        device: Device,
        sender: str,
        body: str,
        *,
        name: str = "",
        chat: str = "",
        kind: str = "chat",
        from_me: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Write to `device`'s phone as a customer (or on the phone itself) and return the message's id.

        Args:
            sender: the customer's digits. chat: a group `…@g.us`; empty: the customer's own chat. from_me: written on
                the phone to the customer.
            more: further fields of the message (caption, media, lat, lng, quoted, forwarded, …), as the page's own rows
                have them.
        """
        remote = chat or resolve_chat(f"{sender}@c.us")
        # in groups members are known by their lid; in a chat of two the chat names the author
        author = f"{lid_of(sender)}@lid" if chat else ""
        message = {
            **self._name(remote, author, from_me=from_me),
            **(more or {}),
            "body": body,
            "type": kind,
            "author": author,
            "notifyName": name,
        }
        self._ledger.append(
            "web", "customer_wrote", phone=device.phone, chat=remote, message_id=message["id"], body=body, type=kind
        )
        self._hand_over(device, message)
        return str(message["id"])

    def change(
        self, device: Device, target: str, what: Literal["edit", "revoke", "reaction"], body: str, *, sender: str = ""
    ) -> str:
        """Edit or revoke a message, or react to one, as its author (or as `sender`, the digits of a customer),
        and return the change's id.

        Args:
            target: the message's id. body: the new text or the emoji; empty takes a reaction back. sender: empty for
                edits and revokes; for a reaction the customer, or `me` for the phone's owner.
        """
        # a message's id is `fromMe_chat_id[_author]`, as in WhatsApp Web
        own, remote, *_ = target.split("_")
        if not remote:
            raise DeviceRefused(400, "bad_target", "target is a message's id")
        from_me = sender == "me" if what == "reaction" else own == "true"
        by = f"{device.phone}@c.us" if from_me else (resolve_chat(f"{sender}@c.us") if sender else remote)
        row = {
            **self._name(remote, "" if remote == by or from_me else by, from_me=from_me),
            "type": "reaction" if what == "reaction" else "protocol",
            "subtype": {"edit": "message_edit", "revoke": "revoke", "reaction": ""}[what],
            "target": target,
            "body": body,
            "sender": by,
        }
        self._ledger.append(
            "web", f"customer_{what}", phone=device.phone, chat=remote, message_id=row["id"], target=target, body=body
        )
        self._hand_over(device, row)
        return str(row["id"])

    def _name(self, remote: str, author: str, *, from_me: bool) -> dict[str, Any]:
        own_id = secrets.token_hex(10).upper()
        serialized = f"{'true' if from_me else 'false'}_{remote}_{own_id}" + (f"_{author}" if author else "")
        return {"id": serialized, "chat": remote, "fromMe": from_me, "t": int(time.time())}

    def _hand_over(self, device: Device, row: dict[str, Any]) -> None:
        # kept until the page confirms it: a closed or synchronising page gets it later
        device.waiting[str(row["id"])] = row
        if device.mode == "MAIN":
            self._push(device, type="messages", messages=[row], double=device.faults.double_events)

    def set_away(self, device: Device, away: bool) -> None:
        """Take the phone offline, or bring it back."""
        device.away = away
        if device.credential and away:
            self._push_mode(device, "OFFLINE")
        elif device.credential:
            self._synchronise(device)

    def set_mode(self, device: Device, mode: Mode) -> None:
        """Set the page's stream mode; MAIN ends a conflict or a block."""
        if mode == "MAIN" and device.credential:
            self._synchronise(device)
        else:
            self._push_mode(device, mode)

    def log_out(self, device: Device, reason: str = "user_initiated") -> None:
        """End the link; the page then shows a new QR code."""
        self._unlink(device)
        self._push(device, type="logout", reason=reason)

    def order(self, device: Device, what: str, amount: float) -> None:
        """Make the page misbehave by itself: `hang`, `burn` (seconds), `leak` (megabytes a second), `reload`,
        `script_error`.
        """
        self._push(device, type="fault", what=what, amount=amount)

    # inside

    def _unlink(self, device: Device) -> None:
        if device.credential:
            self._ledger.append("web", "device_unlinked", device=device.id, phone=device.phone)
        device.phone, device.credential, device.mode, device.refs = "", "", "QR", []
        device.waiting.clear()

    def _known(self, device_id: str) -> Device:
        return self._devices.setdefault(device_id, Device(device_id))

    def _push(self, device: Device, **event: Any) -> None:
        if device.line:
            device.line.push(**event)

    def _push_mode(self, device: Device, mode: Mode) -> None:
        device.mode = mode
        self._push(device, type="stream", mode=mode, info="OFFLINE" if mode == "OFFLINE" else "NORMAL")

    def _synchronise(self, device: Device) -> None:
        """Enter the syncing phase, then deliver the waiting messages, then enter MAIN."""
        if device.away:
            self._push_mode(device, "OFFLINE")
            return
        device.mode = "SYNCING"
        self._push(device, type="stream", mode="SYNCING", info="SYNCING", progress=30)
        self._call_later(device.faults.sync_s, self._end_sync, device, device.line)

    def _end_sync(self, device: Device, line: PageStream | None) -> None:
        # the timer belongs to one page's syncing phase, which another page, a logout or a fault may have ended
        if device.mode != "SYNCING" or device.line is not line or not device.credential:
            return
        device.mode = "MAIN"
        quiet = device.faults.quiet_sync
        self._push(
            device,
            type="messages",
            messages=list(device.waiting.values()),
            double=device.faults.double_events,
            quiet=quiet,
        )
        self._push(device, type="stream", mode="MAIN", info="NORMAL", progress=100)

    def _later(self, after_s: float, device: Device, message_id: str, ack: int) -> None:
        self._call_later(after_s, self._acknowledge, device, message_id, ack)

    def _acknowledge(self, device: Device, message_id: str, ack: int) -> None:
        arrival = self._arrived.get((device.phone, message_id))
        if arrival is None or ack in device.faults.lose_acks:
            return
        # timers can fire in any order; acks only grow
        arrival.ack = max(arrival.ack, ack)
        self._push(device, type="ack", id=message_id, chat=arrival.chat, ack=arrival.ack)

    def _call_later(self, after_s: float, what: Any, *details: Any) -> None:
        def run() -> None:
            self._timers.discard(timer)
            what(*details)

        timer = asyncio.get_running_loop().call_later(after_s, run)
        self._timers.add(timer)

    async def _hold(self, hold_s: float) -> None:
        if hold_s > 0:
            try:
                # ends early when the sandbox stops: a hold must not keep the server from stopping
                await asyncio.wait_for(self.closed.wait(), hold_s)
            except TimeoutError:
                return
