"""The service of kind `hooks`: takes subscribers that have no server, and serves each until it is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from hooks import rows
from hooks.exporting import EventExport
from hooks.rows import SubscriberSettlement
from hooks.sending import SUBSCRIBERS_MOST, Poster
from hooks.subscriber import HookMetrics, Subscriber, SubscriberLoop
from shared.batching import GroupCommit
from shared.clock import left, utc_now
from shared.errors import StoreUnavailable
from shared.events.catalogue import Selection
from shared.events.hook_secrets import HookSecrets
from shared.events.reader import Position
from shared.events.tail import EventTail
from shared.fail_points import hit
from shared.kinds import kind_named
from shared.logs import logger
from shared.media.reach import Reach, own_ports, reach_of
from shared.process.leased_work import Intervals, LeasedRows, LeasedWork
from shared.process.packages import missing_package
from shared.process.periodic import repeat, wait_for_event
from shared.process.service import Child, Service, Severity
from shared.secrets import SecretUnreadable, Vault
from shared.settings import Settings
from shared.store.pool import Row

log = logger(__name__)

LEASE_S: Final = 15.0
"""Seconds after which another process serves what this one has not renewed; a death on this host is proved sooner."""
_RENEW_S: Final = 1.0
"""Seconds between two renewals: a change by an operator, such as a suspension, takes effect within them."""
_UNUSABLE_S: Final = 60.0
"""Seconds until a row is looked at again whose secrets do not open."""
_SETTLE_S: Final = 0.02
"""Least time between two commits of what is delivered: the subscribers share them."""
_SETTLED_MOST: Final = 2000
"""Rows of one such commit."""
_DAY_S: Final = 86400.0


def subscribers_reach(settings: Settings) -> Reach:
    """Return where subscribers may be: anywhere by HOOKS_PRIVATE, else as `reach_of`, but on no port of ours."""
    if settings.own("HOOKS_PRIVATE") == "on":
        return Reach.PRIVATE
    # not even on the sandbox's: no subscriber listens there
    return replace(reach_of(settings), but_ports=own_ports(settings))


class HooksService:
    """See `shared.process.service.Service`."""

    app: Any = None

    def __init__(self, child: Child) -> None:
        settings = child.settings
        self._child, self._store = child, child.store
        self._incarnation = child.identity.process_incarnation
        self._vault = Vault.from_settings(settings)
        self._poster = Poster(subscribers_reach(settings))
        self._settling: GroupCommit[SubscriberSettlement, Row | None] = GroupCommit(
            self._settle,
            interval_s=_SETTLE_S,
            capacity=_SETTLED_MOST,
            weight=lambda one: one.weight,
            on_refused=lambda error: log.error("hook_not_settled", reason=str(error)),
        )
        self._tail = EventTail(child.store, child.stopping)
        self._metrics = HookMetrics(child.metrics)
        self._survived: tuple[type[BaseException], ...] = (StoreUnavailable,)
        self._export = self._open_export(str(settings.own("AMQP_URL")), str(settings.own("AMQP_EXCHANGE")))
        self._disable_after_s = float(settings.own("HOOKS_DISABLE_DAYS")) * _DAY_S
        self._exporting: asyncio.Task[Any] | None = None
        self._unusable: set[int] = set()
        self._served: dict[int, tuple[SubscriberLoop, int]] = {}
        self._work: LeasedWork[Row] = LeasedWork(
            child,
            "hooks",
            LeasedRows(release=self._release, take=self._take, key=lambda row: row["id"], work=self._serve),
            capacity=SUBSCRIBERS_MOST,
            intervals=Intervals(busy_s=1.0, idle_s=1.0),
            beat_limit_s=30.0,
        )

    async def start(self) -> None:
        """Begin to take subscribers."""
        self._child.spawn(self._tail.run(), "event-tail")
        self._child.spawn(repeat("hook-leases", self._renew, _RENEW_S), "hook-leases")
        for committer in self._settling.start("hook-settlements"):
            self._child.watch(committer)
        if self._export is not None:
            self._exporting = self._child.spawn(self._export.run(), "amqp")
        self._work.start()

    async def drain(self, by: float) -> bool:
        """Finish the deliveries under way, and give the subscribers back."""
        for loop, _ in self._served.values():
            loop.stop.set()
        done = await self._work.drain(by)
        if self._exporting is not None:
            # it ends by itself when the process stops
            await asyncio.wait({self._exporting}, timeout=left(by))
        if left(by):
            try:
                await self._store.call(rows.release, incarnation=self._incarnation)
            # the leases end by themselves
            except StoreUnavailable as error:
                log.warning("hooks_not_released", reason=str(error))
        return done

    async def close(self) -> None:
        """Cut what is still under way."""
        await self._work.close()
        await self._settling.close()
        await self._poster.close()

    def readiness(self) -> Mapping[str, str]:
        """Nothing beyond the database, which every child watches."""
        return {}

    def health(self) -> Mapping[str, Any]:
        """Return how many subscribers are served, and how many of them take nothing."""
        return {
            "subscribers": len(self._served),
            "subscribersDown": sum(loop.is_down for loop, _ in self._served.values()),
            **({} if self._export is None else {"amqp": self._export.state}),
        }

    def classify(self, error: BaseException) -> Severity:
        """A database or a broker that is away is survived; anything else is a bug."""
        return Severity.RECOVERABLE if isinstance(error, self._survived) else Severity.CRITICAL

    def _open_export(self, url: str, exchange: str) -> EventExport | None:
        """Return what publishes events, None without a broker. Raises `SettingsInvalid` when its package is missing."""
        if not url:
            return None
        try:
            # imported on use: the package is an extra, and its failure must not reach an installation without a broker
            from hooks.amqp import LIBRARY_ERRORS, BrokerAway, EventBroker  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if (problem := missing_package(error, replace(kind_named("hooks"), extra="amqp"))) is None:
                raise
            raise problem from None
        self._survived += LIBRARY_ERRORS
        return EventExport(
            self._store,
            self._tail,
            self._child.metrics,
            incarnation=self._incarnation,
            open_broker=lambda: EventBroker.open(url, exchange),
            away=BrokerAway,
            stop=self._child.stopping,
        )

    async def _release(self) -> None:
        # what an earlier life of the slot served is given back by the recorder (`reclaims`), or by the end of its lease
        return None

    async def _take(self, most: int) -> Sequence[Row]:
        leased = await self._store.call(
            rows.lease,
            incarnation=self._incarnation,
            in_hand=[*self._served, *self._unusable],
            most=most,
            lease_s=LEASE_S,
        )
        if leased:
            hit("hook.leased")
        return leased

    async def _renew(self) -> None:
        if not self._served:
            return
        kept = await self._store.call(
            rows.renew, incarnation=self._incarnation, ids=list(self._served), lease_s=LEASE_S
        )
        for hook_id, (loop, version) in list(self._served.items()):
            if kept.get(hook_id) != version:
                # removed, paused, or changed: it is taken again as it is now
                loop.stop.set()

    async def _settle(self, settlements: Sequence[SubscriberSettlement]) -> Sequence[Row | None]:
        return await self._store.call(rows.settle, settlements, incarnation=self._incarnation)

    async def _serve(self, row: Row) -> None:
        try:
            secrets = HookSecrets.opened(self._vault, row["id"], row["sealed"])
            selection = Selection(
                company_id=row["company_id"],
                types=frozenset(row["types"]),
                # what one of the installation gets are alerts and processes, never a company's messages
                is_installations=row["company_id"] is None,
            )
        except (SecretUnreadable, ValueError) as error:
            # an operator has to act: tried again, but not each second
            log.error("hook_not_served", hook_id=row["id"], reason=str(error))
            self._unusable.add(row["id"])
            await wait_for_event(self._child.stopping, _UNUSABLE_S)
            self._unusable.discard(row["id"])
            return
        rotating = row["former_until"] is not None and row["former_until"] > utc_now()
        subscriber = Subscriber(
            id=row["id"],
            url=row["url"],
            selection=selection,
            phone_indexes=frozenset(row["phone_indexes"]),
            secrets=secrets.secrets if rotating else secrets.secrets[:1],
            headers=secrets.headers,
            position=Position(row["xid"], row["event_id"]),
            version=row["version"],
            failing_since=row["failing_since"],
        )
        loop = SubscriberLoop(
            subscriber,
            store=self._store,
            settle=self._settling.submit,
            tail=self._tail,
            poster=self._poster,
            metrics=self._metrics,
            incarnation=self._incarnation,
            stop=asyncio.Event(),
            disable_after_s=self._disable_after_s,
        )
        self._served[row["id"]] = (loop, row["version"])
        if self._child.stopping.is_set():
            loop.stop.set()
        try:
            await loop.run()
        finally:
            del self._served[row["id"]]


async def open_service(child: Child) -> Service:
    """Return the service of this process. Raises `SettingsInvalid` when the encryption key is missing or wrong."""
    return HooksService(child)
