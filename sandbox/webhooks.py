"""The outbox: status updates and customers' messages, batched, signed, posted to the product's webhook, and retried
until accepted.

Updates are derived from ledger entries with a `plan` (the list of their updates); every attempt is an entry of its own.
After a kill the outbox continues from the ledger: like Meta it may post an update twice, and loses none.
"""

from __future__ import annotations

import asyncio
import heapq
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import aiohttp

from sandbox.config import Number
from sandbox.faults import Faults
from sandbox.knobs import Knobs
from sandbox.ledger import Ledger, LedgerEntry
from sandbox.updates import Update, encode, envelope, together
from shared.backoff import BackoffPolicy
from shared.logs import logger

log = logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None], str], object]
"""Runs a named coroutine in the background, and handles its failure."""


@dataclass(slots=True)
class WebhookTarget:
    """The target of a channel's webhooks: address ("": none), fixed headers, and the secret for signatures ("":
    unsigned).
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    app_secret: str = ""

    def signed(self, body: bytes, how: str = "right") -> dict[str, str]:
        """Return the headers of a POST of `body`; `how`: signed `right` or `wrong`, with `sha1` alone, or `none`."""
        # the User-Agent is the one of Meta's webhooks
        headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua", **self.headers}
        secret = self.app_secret.encode() if how != "wrong" else b"another secret"
        if self.app_secret and how in {"right", "wrong"}:
            headers["X-Hub-Signature-256"] = "sha256=" + hmac.digest(secret, body, "sha256").hex()
        elif self.app_secret and how == "sha1":
            # the older header alone, which a receiver must not accept
            headers["X-Hub-Signature"] = "sha1=" + hmac.digest(secret, body, "sha1").hex()
        return headers


@dataclass(slots=True)
class _Lane:
    """One channel's queue: a heap of (due, tie breaker, update)."""

    name: str
    target: WebhookTarget
    heap: list[tuple[float, int, Update]] = field(default_factory=list)
    in_flight: int = 0
    sleeps_until: float = 0.0
    failing: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    # set when the lane's task has ended with all of its POSTs
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Outbox:
    """Posts what the ledger's plans ask for.

    Args:
        ledger: read once at `start`, written at every attempt.
        targets: by channel. numbers: by phone number id. knobs, faults: read at every scheduling and every POST.
            is_subscribed: whether the app is subscribed to a WhatsApp Business Account.
    """

    def __init__(
        self,
        ledger: Ledger,
        targets: Mapping[str, WebhookTarget],
        numbers: Mapping[str, Number],
        knobs: Knobs,
        faults: Faults,
        *,
        is_subscribed: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._ledger = ledger
        self._numbers = numbers
        self._knobs = knobs
        self._faults = faults
        self._is_subscribed = is_subscribed
        self._lanes = {name: _Lane(name, target) for name, target in targets.items()}
        self._pending: OrderedDict[int, set[str]] = OrderedDict()
        """Updates not yet accepted, by the number of their entry, oldest entry first."""
        # breaks ties in the heaps, since updates are not orderable
        self._counter = 0
        self._stopping = False
        self._session: aiohttp.ClientSession | None = None

    @property
    def pending(self) -> int:
        """Number of entries with updates that have not been accepted yet."""
        return len(self._pending)

    def target(self, channel: str) -> WebhookTarget:
        """Return the target of `channel`'s webhooks; may be changed in place."""
        return self._lanes[channel].target

    def start(self, spawn: Spawn) -> int:
        """Schedule the ledger's unposted updates and start posting; return the number of their entries. Needs a running
        event loop.
        """
        self._session = aiohttp.ClientSession(
            # no limit of connections: `posts_max` bounds them; an idle connection is closed after 15 s, before the
            # product closes it under a new POST
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
            trust_env=False,
        )
        restored = self._unsettled()
        for entry, kinds in restored:
            self.schedule(entry, kinds)
        for lane in self._lanes.values():
            spawn(self._run(lane), f"webhooks-{lane.name}")
        return len(restored)

    def schedule(self, entry: LedgerEntry, kinds: Iterable[str] | None = None, after_s: float = 0.0) -> None:
        """Make the updates of `entry`'s plan due.

        Args:
            kinds: only these of the plan; None: all.
            after_s: the delays count from this many seconds from now: the time of the response to the request.
        """
        plan = list(entry.fields["plan"] if kinds is None else kinds)
        if not plan:
            return
        fields, channel = entry.fields, entry.channel
        about = {
            "channel": channel,
            "phone_number_id": fields["phone_number_id"],
            "to": fields.get("to", fields.get("from", "")),
        }
        start = time.monotonic() + after_s
        dues = [start + self._knobs.delays_ms.get(kind, 0.0) / 1000 for kind in plan]
        befallen = []
        if fault := self._faults.take(("updates",), **about):
            befallen.append((fault.name, "all"))
            # the due times are reversed, not the updates: the last one is posted first
            dues.reverse()
        # before any of them can be settled: `_settled` reads the oldest entry here
        self._pending[entry.seq] = set(plan)
        nowhere = not self._lanes[channel].target.url or self._has_no_address(channel, fields)
        dropped = []
        for kind, due_at in zip(plan, dues, strict=True):
            update = Update(entry, kind, due_at, due_at)
            fault = self._faults.take(("update",), status=kind, **about)
            if fault:
                befallen.append((fault.name, kind))
            if nowhere or (fault and fault.name == "webhook_drop"):
                dropped.append(update)
                continue
            if fault and fault.name == "webhook_delay":
                update.due_at += fault.latency_ms / 1000
            if fault and fault.name == "webhook_duplicate":
                # a second copy: the first one to be accepted settles both
                self._push(Update(entry, kind, due_at, due_at))
            self._push(update)
        for name, kind in befallen:
            self._ledger.append("webhook", "befallen", to=channel, fault=name, of=entry.seq, kind=kind)
        if dropped:
            self._settle(dropped)
            self._ledger.append(
                "webhook",
                "dropped",
                to=channel,
                updates=[update.named() for update in dropped],
                settled=self._settled(),
            )

    def _has_no_address(self, channel: str, fields: Mapping[str, Any]) -> bool:
        """Whether Meta would not post this: the number is no longer configured, or the app is not subscribed to its
        account. 360dialog numbers have an address of their own, and Pages are not numbers.
        """
        if "object" in fields:
            return False
        number = self._numbers.get(fields["phone_number_id"])
        return number is None or (channel == "graph" and not self._is_subscribed(number.waba_id))

    async def verify(self, verify_token: str) -> dict[str, Any]:
        """Verify Meta's webhook target, as Meta does when an address is set; return the result, which is also in the
        ledger.

        Args:
            verify_token: value of `hub.verify_token`.
        """
        challenge = str(secrets.randbelow(9 * 10**9) + 10**9)
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        seen: dict[str, Any] = {"http_status": 0, "error": ""}
        try:
            async with self._open_session().get(
                self.target("graph").url, params=query, timeout=self._timeout()
            ) as answer:
                text = await answer.text()
                seen["http_status"] = answer.status
                verified = answer.status == 200 and text == challenge
        # a webhook that does not respond is not verified (ValueError: an invalid address)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            seen["error"] = type(error).__name__
            verified = False
        self._ledger.append("webhook", "verified" if verified else "not_verified", to="graph", **seen)
        return {"verified": verified, **seen}

    async def post_raw(self, body: bytes, *, signature: str, path: str = "") -> dict[str, Any]:
        """Post a body unchanged to Meta's webhook, once; return the response, which is also in the ledger.

        Args:
            signature: see `WebhookTarget.signed`. path: replaces the webhook's own path; empty: no change.
        """
        target = self.target("graph")
        url = urljoin(target.url, path) if path else target.url
        started = time.monotonic()
        seen: dict[str, Any] = {"http_status": 0, "error": ""}
        try:
            async with self._open_session().post(
                url, data=body, headers=target.signed(body, signature), timeout=self._timeout()
            ) as answer:
                seen["http_status"] = answer.status
                await answer.read()
        # posted once and not repeated: a failure is the result
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            seen["error"] = type(error).__name__
        seen["ms"] = round((time.monotonic() - started) * 1000, 1)
        self._ledger.append("webhook", "posted_raw", to="graph", size=len(body), signature=signature, **seen)
        return seen

    async def drain(self, by: float) -> bool:
        """Start no new POST, and wait until the monotonic instant `by` for those under way; True when all have
        ended.
        """
        self._stopping = True
        for lane in self._lanes.values():
            lane.wake.set()
        # polled, since lanes have no common event, and this runs only once, at the stop
        while any(lane.in_flight for lane in self._lanes.values()):
            if time.monotonic() >= by:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        """Close the connections. Updates that were not accepted stay in the ledger; the next `start` posts them."""
        self._stopping = True
        for lane in self._lanes.values():
            lane.wake.set()
        if self._session is not None:
            # POSTs under way end with their connections, after writing their entries
            await self._session.close()
            for lane in self._lanes.values():
                await lane.ended.wait()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the outbox has not been started")
        return self._session

    def _timeout(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=self._knobs.post_timeout_ms / 1000)

    def _push(self, update: Update) -> None:
        lane = self._lanes[update.entry.channel]
        self._counter += 1
        heapq.heappush(lane.heap, (update.due_at, self._counter, update))
        # woken only for an update that is due before the lane's next wake-up; any other is found then
        if update.due_at < lane.sleeps_until:
            lane.wake.set()

    async def _run(self, lane: _Lane) -> None:
        """Post due updates in batches, several POSTs at once. Ends when the outbox stops; fails when a POST fails
        unexpectedly.
        """
        try:
            async with asyncio.TaskGroup() as posts:
                while not self._stopping:
                    now = time.monotonic()
                    # until woken by `_push` or the end of a POST
                    if not lane.heap or lane.in_flight >= self._knobs.posts_max:
                        await self._sleep(lane, float("inf"))
                    # the first due update waits for others, so that a burst shares one POST, as at Meta
                    elif (due_at := lane.heap[0][0] + self._knobs.linger_ms / 1000) > now:
                        await self._sleep(lane, due_at)
                    else:
                        batch: list[Update] = []
                        while lane.heap and lane.heap[0][0] <= now and len(batch) < self._knobs.batch_max:
                            batch.append(heapq.heappop(lane.heap)[2])
                        for part in together(batch):
                            # counted here and not in the task, which starts later: otherwise the loop would start too
                            # many
                            lane.in_flight += 1
                            posts.create_task(self._post(lane, part))
        finally:
            lane.ended.set()

    async def _sleep(self, lane: _Lane, until: float) -> None:
        lane.sleeps_until = until
        # no await lies between the caller's check of the heap and this, so that no push is missed
        lane.wake.clear()
        if until == float("inf"):
            await lane.wake.wait()
        else:
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await lane.wake.wait()
            except TimeoutError:
                pass
        lane.sleeps_until = 0.0

    async def _post(self, lane: _Lane, batch: list[Update]) -> None:
        body = encode(envelope(batch, self._numbers, user_ids=bool(self._knobs.user_ids)))
        started = time.monotonic()
        http_status, problem = 0, ""
        try:
            async with self._open_session().post(
                lane.target.url, data=body, headers=lane.target.signed(body), timeout=self._timeout()
            ) as answer:
                http_status = answer.status
                await answer.read()
        # the product is away or being killed: the updates are posted again below
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            problem = type(error).__name__
        finally:
            lane.in_flight -= 1
            lane.wake.set()
        now = time.monotonic()
        for update in batch:
            update.attempts += 1
        # only 200 counts, as for Meta; another 2xx is repeated
        taken = http_status == 200 and not problem
        given_up = [] if taken else [update for update in batch if now - update.first_due_at > self._knobs.retry_for_s]
        # before the entry is written, which records how far everything is settled
        self._settle(batch if taken else given_up)
        self._ledger.append(
            "webhook",
            "taken" if taken else "refused",
            to=lane.name,
            attempt=max(update.attempts for update in batch),
            http_status=http_status,
            error=problem,
            ms=round((now - started) * 1000, 1),
            updates=[update.named() for update in batch],
            settled=self._settled(),
        )
        if given_up:
            self._ledger.append(
                "webhook",
                "given_up",
                to=lane.name,
                updates=[update.named() for update in given_up],
                settled=self._settled(),
            )
            log.error("webhook_updates_abandoned", channel=lane.name, updates=len(given_up))
        if not taken:
            for update in batch:
                if update not in given_up:
                    # attempt 2 comes at once, like Meta's; from the third on the base doubles
                    backoff = BackoffPolicy(
                        base_s=self._knobs.retry_base_ms / 1000, cap_s=self._knobs.retry_cap_ms / 1000
                    )
                    wait_s = self._knobs.retry_first_ms / 1000 + backoff.wait_s(update.attempts - 1)
                    update.due_at = now + wait_s
                    self._push(update)
        self._say(lane, taken, http_status, problem)

    def _say(self, lane: _Lane, taken: bool, http_status: int, problem: str) -> None:
        if not taken and not lane.failing:
            log.warning("webhook_posts_refused", channel=lane.name, http_status=http_status, error=problem)
        if taken and lane.failing:
            log.info("webhook_posts_accepted_again", channel=lane.name)
        lane.failing = not taken

    def _settle(self, updates: list[Update]) -> None:
        for update in updates:
            kinds = self._pending.get(update.entry.seq)
            if kinds is not None:
                kinds.discard(update.kind)
                if not kinds:
                    del self._pending[update.entry.seq]

    def _settled(self) -> int:
        """Return the number up to which every plan in the ledger is completed."""
        # entries are scheduled in the ledger's order, so that the first one here is the oldest
        return next(iter(self._pending)) - 1 if self._pending else self._ledger.seq

    def _unsettled(self) -> list[tuple[LedgerEntry, set[str]]]:
        # the newest mark is enough: everything up to it is completed, and only later entries are read
        settled = next(
            (entry.fields["settled"] for entry in self._ledger.scan_backwards() if "settled" in entry.fields), 0
        )
        open_plans: dict[int, tuple[LedgerEntry, set[str]]] = {}
        for entry in self._ledger.scan(settled):
            if entry.fields.get("plan") and entry.channel in self._lanes:
                open_plans[entry.seq] = (entry, set(entry.fields["plan"]))
            elif entry.channel == "webhook" and entry.event in {"taken", "dropped", "given_up"}:
                for update in entry.fields["updates"]:
                    if update["seq"] in open_plans:
                        open_plans[update["seq"]][1].discard(update["kind"])
        return [(entry, kinds) for entry, kinds in open_plans.values() if kinds]
