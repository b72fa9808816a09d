"""`proc_api.py --doctor`: checks of PostgreSQL, Redis and the keys for `bulkhead doctor`, as JSON on standard output.
Works while no process runs and before the schema is there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared import logs
from shared.diagnosis import Diagnosis, fail, ok, warn
from shared.errors import BulkheadError, MigrationRefused, QueueUnavailable, SettingsInvalid, StoreUnavailable
from shared.logs import scrub
from shared.process.exit_codes import ExitCode
from shared.queues import server_facts as of_redis
from shared.secrets import Vault
from shared.settings import ChildEnvironment, Settings, load
from shared.store import migrate, sealed
from shared.store import server_facts as of_postgres
from shared.store.store import Store

_OLDEST: Final = 150_000
"""Version of PostgreSQL that the schema needs: 15."""
_CLOCK_S: Final = 5.0
"""Seconds between two clocks; leases and proofs are tens of seconds long."""
_SPARE: Final = 5
"""Connections for operators and migrations beside the processes."""

_MENDS: Final[Mapping[str, str]] = {
    "password authentication failed": "Correct the password in DATABASE_URL (special characters are percent-encoded).",
    "no password supplied": "DATABASE_URL has no password, and the server asks for one.",
    "does not exist": "Create the user or database that DATABASE_URL names, or correct the name.",
    "certificate": "Give libpq the right CA: DATABASE_URL=…?sslmode=verify-full&sslrootcert=FILE.",
    "SSL": "Correct sslmode in DATABASE_URL: the server and the address disagree about TLS.",
    "invalid URI query parameter": "Remove that option from DATABASE_URL: libpq does not know it.",
    "could not translate host name": "Correct the host in DATABASE_URL; this machine cannot resolve it.",
    "Connection refused": "Start PostgreSQL, or correct host and port in DATABASE_URL.",
    "No such file or directory": "Start PostgreSQL (the embedded one starts with `bulkhead`), or correct DATABASE_URL.",
    "too many": "Raise the limit of connections of the server, database or role, or lower DATABASE_POOL_<KIND>_MAX.",
    "unsupported startup parameter": "PgBouncer: set ignore_startup_parameters = options, extra_float_digits.",
    "no pg_hba.conf entry": "Let the server accept this host, user and database (pg_hba.conf).",
    "pg_hba.conf rejects": "Let the server accept this host, user and database (pg_hba.conf).",
}
"""What to do, by words of libpq's or the server's refusal."""


def check_servers() -> int:
    """Print the findings as one JSON array and return an exit code (`ExitCode`)."""
    logs.configure(level="error", kind="api")
    settings = load()
    settings = settings.seen_by(settings.kind("api"))
    found: list[Diagnosis] = []
    pools = int(sys.stdin.readline() or 0)
    for check, name in (
        (lambda: _database(settings, pools), "database"),
        (lambda: _schema(settings), "schema"),
        (lambda: _redis(settings), "redis"),
    ):
        found += _guarded(check, name)
        # without a database nothing can be said about what is in it
        if name == "database" and found[-1].result == "fail" and found[-1].check == "database":
            break
    if found[-1].check == "database":
        found += _guarded(lambda: _redis(settings), "redis")
    json.dump([one.as_json() for one in found], sys.stdout)
    return ExitCode.OK


def _guarded(check: Callable[[], list[Diagnosis]], name: str) -> list[Diagnosis]:
    try:
        return check()
    except BulkheadError as error:
        return [fail(name, scrub(str(error)), "Correct what it names, then ask again.")]


def _database(settings: Settings, pools: int) -> list[Diagnosis]:
    try:
        facts = of_postgres.server_facts(settings.database_url, settings.host)
    except StoreUnavailable as error:
        said = scrub(str(error))
        mend = next((mend for words, mend in _MENDS.items() if words in said), "Correct DATABASE_URL.")
        return [fail("database", " ".join(said.split()), mend)]
    major = facts["version"] // 10_000
    user, name = facts["user_name"], facts["database_name"]
    found = [
        ok("database", f"PostgreSQL {major}, user {user}, database {name}")
        if facts["version"] >= _OLDEST
        else fail("database", f"PostgreSQL {major} is too old", "Upgrade PostgreSQL to 15 or newer.")
    ]
    if facts["schema_name"] is None:
        found.append(fail("database schema", "search_path names no schema that exists", "Correct it, or create one."))
    elif not facts["may_create"]:
        place = facts["schema_name"]
        grant = f"GRANT CREATE ON SCHEMA {place} TO {user}"
        found.append(fail("database rights", f"{user} may not create tables in {place}", f"As its owner: {grant}."))
    else:
        found.append(ok("database rights", f"{user} may create tables"))
    if facts["is_read_only"]:
        found.append(
            fail(
                "database writes",
                "It is read-only (a standby, or set so)",
                "Point DATABASE_URL to the primary.",
            )
        )
    if facts["encoding"] != "UTF8":
        found.append(
            fail("database encoding", f"It is {facts['encoding']}", "Create the database with ENCODING 'UTF8'.")
        )
    found.append(
        ok("database vectors", "pgvector is there")
        if facts["has_vector"]
        else warn(
            "database vectors",
            "pgvector 0.8 or later is not there: each search in documents compares every vector of its company",
            "As a superuser: CREATE EXTENSION vector (docs/documents.md). Until then some thousand passages are fast.",
        )
    )
    limits = [facts[one] for one in ("most_connections", "role_limit", "database_limit") if facts[one] >= 0]
    least, needed = min(limits), pools + facts["of_other_hosts"] + _SPARE
    free = min(least, facts["most_connections"] - facts["used_by_others"])
    others = f", {facts['of_other_hosts']} on {', '.join(facts['other_hosts'])}" if facts["other_hosts"] else ""
    finding = f"{needed} connections at most ({pools} here{others}, {_SPARE} to spare), {free} can be had"
    found.append(
        ok("database connections", finding)
        if needed <= free
        else warn(
            "database connections",
            finding,
            "Raise max_connections (or the role's limit), or lower DATABASE_POOL_<KIND>_MAX.",
        )
    )
    behind_s = time.time() - facts["clock"]
    if abs(behind_s) > _CLOCK_S:
        found.append(
            warn(
                "clock",
                f"It differs from PostgreSQL's by {behind_s:.0f} s",
                "Run an NTP client on both.",
            )
        )
    else:
        found.append(ok("clock", "agrees with PostgreSQL's"))
    return found


def _schema(settings: Settings) -> list[Diagnosis]:
    try:
        pending = migrate.pending(settings.database_url)
    except (StoreUnavailable, MigrationRefused) as error:
        return [fail("schema", scrub(str(error)), "Correct what it names; `bulkhead migrate` applies the schema.")]
    if pending:
        return [warn("schema", f"{len(pending)} migrations are pending", "`bulkhead migrate`, or start Bulkhead.")]
    found = [ok("schema", "is up to date")]
    store = Store.open(settings, ChildEnvironment(process_name="api"), limit=1)
    try:
        store.run(sealed.require_keys, Vault.from_settings(settings))
        found.append(ok("sealing keys", "open what is sealed"))
    except SettingsInvalid as error:
        found.append(
            fail("sealing keys", " ".join(error.problems), "Put the key back into SECRET_ENCRYPTION_KEY (or its file).")
        )
    finally:
        store.close()
    return found


def _redis(settings: Settings) -> list[Diagnosis]:
    try:
        facts: Mapping[str, Any] = of_redis.server_facts(settings.redis_url)
    except QueueUnavailable as error:
        said = scrub(str(error))
        mend = (
            "Correct user and password in REDIS_URL, or what its user may do (~rq:* and the commands of RQ)."
            if any(word in said for word in ("WRONGPASS", "NOAUTH", "NOPERM", "permissions"))
            else "Free memory, or raise maxmemory."
            if "OOM" in said
            else "Point REDIS_URL to the primary."
            if "READONLY" in said
            else "Start Redis, or correct REDIS_URL."
        )
        return [fail("redis", said, mend)]
    found = [ok("redis", f"Redis {facts['version'] or 'of unknown version'} takes writes")]
    if facts["maxmemory"] and facts["policy"] != "noeviction":
        found.append(
            warn(
                "redis policy",
                f"maxmemory-policy is {facts['policy']}: hints are dropped when memory is short",
                "CONFIG SET maxmemory-policy noeviction. Messages are sent nevertheless, but later.",
            )
        )
    elif facts["policy"]:
        found.append(ok("redis policy", "drops no hints"))
    return found
