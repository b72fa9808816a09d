"""Files that came with messages: fetched in the background from the provider into storage, by id or by address, with
retries.

A row in `inbound_media` has each file's state and the incarnation that fetches it. Fetching twice is harmless (storage
is addressed by content), so an interrupted fetch is repeated.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from meta import errors
from meta.accounts.registry import D360, Account, AccountRegistry
from meta.errors import ErrorAction, ProviderAcceptance, Refusal
from meta.graph import GraphAnswer, GraphClient
from shared.backoff import BackoffPolicy
from shared.clock import monotonic
from shared.content import AUDIO, IMAGE, STICKER, VIDEO
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import correlation_id, logger
from shared.media import kinds
from shared.media.errors import FetchFailed, MediaTooLarge, StorageUnavailable
from shared.media.fetch import Fetched, fetch
from shared.media.reach import Reach, checked, reach_of
from shared.media.storage import Storage
from shared.process.leased_work import Intervals, LeasedRows, LeasedWork
from shared.process.service import Child
from shared.store import inbound_media, media
from shared.store.inbound_media import TakenMedia
from shared.store.pool import Transaction

log = logger(__name__)

ATTEMPTS: Final = 12
"""Attempts: with the waits below they last three quarters of an hour in all (two hours at 360dialog), longer than most
outages."""
_CAP_S: Final = 900.0
"""Longest wait between two attempts, in seconds."""
_BASE_S: Final = 2.0
"""First wait, in seconds: an address may take a moment to reach every server of the provider."""
_D360_BASE_S: Final = 60.0
"""Seconds. 360dialog blocks a number after 20 failures in an hour; with a minute as the first wait there are fewer
than ten for one file.
"""
_LEASE_BEYOND_S: Final = 10.0
"""Seconds by which a lease outlives a fetch, for writing the result: a lease that ended earlier would let another
instance fetch the same file in vain.
"""
_INTERVAL_S: Final = 1.0
"""Seconds between two queries for files whose wait is over, or that another instance journalled; those of this process
wake the loop at once.
"""
_BEAT_LIMIT_S: Final = 30.0
"""Watchdog limit of the loop, in seconds. A fetch is a task of its own and does not delay the loop."""
_MOVED: Final = frozenset({"http_401", "http_403", "http_404", "http_410"})
"""Answers of an address that is no longer valid: Meta's addresses expire after five minutes."""
_OWN_HOSTS: Final = (
    ".facebook.com",
    ".fbsbx.com",
    ".fbcdn.net",
    ".whatsapp.net",
    ".whatsapp.com",
    ".instagram.com",
    ".cdninstagram.com",
)
"""Meta's hosts: only they, and their configured stand-ins, get the access token."""
_D360_HOSTS: Final = (".360dialog.io",)
_ATTACHMENTS: Final = "/whatsapp_business/attachments/"
"""Path of a file's address at Meta, and at 360dialog."""
_BY_ADDRESS: Final = frozenset({"messenger", "instagram"})
"""Connection types whose files have addresses that are good without a token."""
_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    IMAGE: ("image/",),
    STICKER: ("image/", "video/webm"),
    VIDEO: ("video/",),
    # sound may come in a container format of films
    AUDIO: ("audio/", "video/mp4", "video/3gpp", "video/ogg", "video/webm"),
}
"""Which detected types fit each type of message. A file whose type cannot be detected is accepted and stored as of
unknown type."""


@dataclass(frozen=True, slots=True)
class FileKept:
    """The file is in storage. `reason`: a discrepancy, empty when there is none."""

    sha256: str
    mimetype: str
    size: int
    is_animated: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class FileDelayed:
    """Not now; trying again may help."""

    reason: str


@dataclass(frozen=True, slots=True)
class FileGivenUp:
    """Trying again cannot help. `state` is `failed` or `refused`."""

    state: str
    reason: str


FetchOutcome: TypeAlias = FileKept | FileDelayed | FileGivenUp


class MediaFetcher:
    """Fetches the files of one process kind's messages, beside other instances that do the same."""

    def __init__(self, child: Child, accounts: AccountRegistry, graph: GraphClient, storage: Storage) -> None:
        settings = child.settings
        self._child, self._store, self._accounts, self._graph, self._storage = (
            child,
            child.store,
            accounts,
            graph,
            storage,
        )
        self._kind, self._incarnation = child.kind.name, child.identity.process_incarnation
        self._most, self._within_s = settings.media_inbound_most_mb * 1024 * 1024, settings.media_fetch_s
        self._reach = reach_of(settings)
        # with the port: another server on the same host must not get the token
        self._providers = {
            host for address in (settings.graph_base_url, settings.d360_base_url) if (host := urlsplit(address).netloc)
        }
        self._work = LeasedWork(
            child,
            "files",
            LeasedRows(release=self._release, take=self._take, key=lambda file: file.message_id, work=self._one),
            capacity=settings.media_fetches,
            intervals=Intervals(busy_s=_INTERVAL_S, idle_s=_INTERVAL_S),
            beat_limit_s=_BEAT_LIMIT_S,
        )
        self._files = child.metrics.counter(
            "meta_inbound_files", "Attempts to fetch files of messages, by outcome.", ("state",)
        )

    def wake(self) -> None:
        """Notify that there are files to fetch."""
        self._work.wake()

    def start(self) -> None:
        """Start to fetch; what earlier lives of this slot were fetching is fetched again first."""
        self._work.start()

    async def drain(self, by: float) -> bool:
        """Start no further fetch, and wait for those in progress until the monotonic instant `by`. Returns whether
        nothing is left.
        """
        return await self._work.drain(by)

    async def close(self) -> None:
        """Cancel what is in hand; it is fetched again by the next life of this slot, or when its lease has ended."""
        await self._work.close()

    async def _release(self) -> None:
        await self._store.call(
            inbound_media.release_earlier_lives, self._kind, slot=self._child.identity.slot, living=self._incarnation
        )

    async def _take(self, capacity: int) -> Sequence[TakenMedia]:
        if not capacity:
            return ()
        lease_s = self._within_s + _LEASE_BEYOND_S
        taken = await self._store.call(
            inbound_media.take_media, self._kind, incarnation=self._incarnation, lease_s=lease_s, most=capacity
        )
        if taken:
            hit("media.taken")
        return taken

    async def _one(self, file: TakenMedia) -> None:
        correlation_id.set(f"file-{file.message_id}")
        try:
            await self._write(file, await self._safe_outcome(file))
        except StoreUnavailable as error:
            # it is due again when the lease ends
            log.info("inbound_file_not_written", message_id=file.message_id, reason=str(error))

    async def _safe_outcome(self, file: TakenMedia) -> FetchOutcome:
        # counted when it is taken, so that a file at which the process dies each time is not taken for ever
        if file.attempts > ATTEMPTS:
            return FileGivenUp("failed", "the processes that fetched it died too often")
        try:
            return await self._outcome(file, monotonic() + self._within_s)
        except StoreUnavailable:
            raise
        except Exception as error:  # whatever it is, it is this file's, and the others go on
            log.error("inbound_file_failed", exc_info=error, message_id=file.message_id)
            return FileGivenUp("failed", f"failed: {type(error).__name__}")

    async def _outcome(self, file: TakenMedia, by: float) -> FetchOutcome:
        # looked up for each attempt: a token that was replaced meanwhile is used
        account = await self._accounts.find(file.connection_id)
        if not isinstance(account, Account):
            return FileDelayed("the connection's credentials cannot be used")
        # an id of the sandbox names nothing at the provider or another customer's file, and vice versa
        if file.world not in (None, account.connection.world):
            return FileGivenUp("failed", "other_world")
        address, media_id = str(file.source.get("url", "")), str(file.source.get("id", ""))
        # the address that came with the webhook saves a call; the id is the fallback once it has expired
        if address:
            outcome = await self._from_address(file, account, address, by)
            if not (isinstance(outcome, FileGivenUp) and outcome.reason in _MOVED and media_id):
                return outcome
        found = await self._address_of(account, media_id, by)
        return (
            found if not isinstance(found, str) else await self._from_address(file, account, found, by, is_fresh=True)
        )

    async def _address_of(self, account: Account, media_id: str, by: float) -> str | FetchOutcome:
        """Ask the provider where a file is."""
        url, params = _of_id(account, media_id)
        reply = await self._graph.call("GET", url, account.endpoint.headers, by, params=params)
        if not isinstance(reply, GraphAnswer):
            return FileDelayed(f"asking for its address: {reply.reason}")
        reading = errors.read(reply, _address_in)
        if isinstance(reading, ProviderAcceptance):
            return reading.provider_id
        # Meta keeps inbound files for 7 days; a dead token in contrast is corrected, and the file is still there
        if isinstance(reading, Refusal) and reading.rule.action is ErrorAction.DEAD:
            return FileGivenUp("failed", f"gone: {reading.code}")
        return FileDelayed(f"asking for its address: {reading.code}")

    async def _from_address(
        self, file: TakenMedia, account: Account, address: str, by: float, *, is_fresh: bool = False
    ) -> FetchOutcome:
        # no token to hosts that are not the provider's: the address is content of a webhook, which others may have
        # caused
        here = _through_d360(account, address)
        headers = (
            {name: value for name, value in account.endpoint.headers.items() if name != "Content-Type"}
            if self._is_own(account, here)
            else {}
        )
        try:
            fetched = await fetch(
                here, self._storage, file.company_id, most=self._most, by=by, reach=self._reach, headers=headers
            )
        except MediaTooLarge:
            return FileGivenUp("refused", f"larger than {self._most} bytes")
        except StorageUnavailable:
            return FileDelayed("the storage is away")
        except FetchFailed as failed:
            # an address that was issued just now may not be known to every server yet
            return (
                FileDelayed(failed.code)
                if failed.passing or (is_fresh and failed.code in _MOVED)
                else FileGivenUp("failed", failed.code)
            )
        # stored, but not recorded: if this process dies here, the fetch is repeated and stores the same bytes under the
        # same name
        hit("media.fetched")
        return _judged(file, fetched)

    def _is_own(self, account: Account, address: str) -> bool:
        if account.connection.connection_type in _BY_ADDRESS:
            return False
        try:
            parts = checked(address, Reach.PRIVATE)
        except FetchFailed:
            return False  # fetching it fails for the same reason
        return parts.netloc in self._providers or (
            parts.scheme == "https" and f".{parts.hostname or ''}".endswith(_OWN_HOSTS + _D360_HOSTS)
        )

    async def _write(self, file: TakenMedia, outcome: FetchOutcome) -> None:
        # the last attempt: no later one would be taken
        if isinstance(outcome, FileDelayed) and file.attempts >= ATTEMPTS:
            outcome = FileGivenUp("failed", outcome.reason)
        # fenced by the incarnation: when the lease ended meanwhile, the row belongs to another instance, and `mine` is
        # false
        mine = await self._store.call(
            _note, file, outcome, self._incarnation, _wait_s(file, await self._accounts.find(file.connection_id))
        )
        if isinstance(outcome, FileKept):
            hit("media.noted")
        self._files.labels(
            "stored"
            if isinstance(outcome, FileKept)
            else "later"
            if isinstance(outcome, FileDelayed)
            else outcome.state
        ).inc()
        if isinstance(outcome, FileKept):
            log.info(
                "inbound_file_stored",
                message_id=file.message_id,
                size=outcome.size,
                mimetype=outcome.mimetype,
                reason=outcome.reason,
                mine=mine,
            )
        elif isinstance(outcome, FileDelayed):
            log.info("inbound_file_delayed", message_id=file.message_id, attempt=file.attempts, reason=outcome.reason)
        else:
            log.warning(
                "inbound_file_abandoned", message_id=file.message_id, state=outcome.state, reason=outcome.reason
            )


def _note(transaction: Transaction, file: TakenMedia, outcome: FetchOutcome, incarnation: str, wait_s: float) -> bool:
    if isinstance(outcome, FileKept):
        # recorded in any case: the bytes are in storage, and a file without a row would never be deleted
        media.remember_received(
            transaction,
            file.company_id,
            outcome.sha256,
            size=outcome.size,
            mimetype=outcome.mimetype,
            is_animated=outcome.is_animated,
        )
        return inbound_media.media_stored(
            transaction,
            file,
            incarnation=incarnation,
            sha256=outcome.sha256,
            mimetype=outcome.mimetype,
            size=outcome.size,
            reason=outcome.reason,
        )
    if isinstance(outcome, FileDelayed):
        return inbound_media.media_failed(
            transaction, file, incarnation=incarnation, reason=outcome.reason, state="pending", after_s=wait_s
        )
    return inbound_media.media_failed(
        transaction, file, incarnation=incarnation, reason=outcome.reason, state=outcome.state
    )


def _wait_s(file: TakenMedia, account: object) -> float:
    is_d360 = isinstance(account, Account) and account.connection.connection_type == D360
    return BackoffPolicy(base_s=_D360_BASE_S if is_d360 else _BASE_S, cap_s=_CAP_S).wait_s(file.attempts)


def _judged(file: TakenMedia, fetched: Fetched) -> FetchOutcome:
    """Return the outcome of a fetch, by whether the file is of the type that the message announced."""
    families = _FAMILIES.get(file.type)
    if families and fetched.mimetype != kinds.UNKNOWN and not fetched.mimetype.startswith(families):
        return FileGivenUp("refused", f"not {file.type} but {fetched.mimetype}")
    # a file whose digest differs is kept, with that reason: to lose a customer's file would be worse
    announced = _hex(str(file.source.get("sha256", "")))
    reason = "digest_differs" if announced and announced != fetched.stored.sha256 else ""
    mimetype = fetched.mimetype
    if mimetype == kinds.UNKNOWN and families is None:
        mimetype = kinds.plain(str(file.source.get("mimetype", ""))) or mimetype
    animated = kinds.is_animated(fetched.stored.head)
    return FileKept(fetched.stored.sha256, mimetype, fetched.stored.size, animated, reason)


def _hex(digest: str) -> str:
    """Return a SHA-256 in hexadecimal digits, given so or in base64; empty when it is none."""
    if len(digest) == 64:
        return digest.lower()
    try:
        raw = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == 32 else ""


def _address_in(body: Mapping[str, object]) -> str:
    url = body.get("url")
    return url if isinstance(url, str) else ""


def _of_id(account: Account, media_id: str) -> tuple[str, Mapping[str, str]]:
    """Return the address and parameters of the call that returns a file's own address."""
    if account.connection.connection_type == D360:
        return f"{account.endpoint.url.removesuffix('/messages')}/{media_id}", {}
    # the number's id makes Meta check that the file came to this very number
    return f"{account.endpoint.url.rsplit('/', 2)[0]}/{media_id}", {"phone_number_id": account.connection.account_id}


def _through_d360(account: Account, address: str) -> str:
    """Return an address as 360dialog serves it: Meta's path, at its own host."""
    if account.connection.connection_type != D360:
        return address
    base = account.endpoint.url.removesuffix("/messages")
    if address.startswith(f"{base}/"):
        return address
    parts = urlsplit(address)
    before, found, rest = parts.path.partition(_ATTACHMENTS)
    path = f"{found}{rest}" if found else before
    return f"{base}{path}{f'?{parts.query}' if parts.query else ''}"
