"""The child's end of the line, spoken to over real sockets."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.errors import SlotTaken
from shared.process import notify, runtime
from shared.process.slot_lock import SlotLock, read_holder
from shared.process.supervised import (
    Command,
    ListeningSocketInvalid,
    Supervised,
    ask_command,
    ask_descriptors,
    bind_listener,
    new_incarnation,
)
from shared.settings import ChildEnvironment


@contextmanager
def orchestrator_at(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.settimeout(5)
        ours.bind(str(path))
        yield ours
    path.unlink()


@pytest.fixture
def identity(tmp_path: Path) -> ChildEnvironment:
    return ChildEnvironment(
        process_name="meta",
        process_instance=1,
        notify_socket=str(runtime.notify_socket(tmp_path)),
        watchdog_usec=3_000_000,
    )


@pytest.fixture
def line(identity: ChildEnvironment, tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised.from_environment(identity, tmp_path)
    yield supervised
    supervised.close()
    os.close(supervised.lock_fd)


def received(ours: socket.socket) -> dict[str, str]:
    return notify.parse(ours.recv(notify.LONGEST_DATAGRAM))


def test_says_everything_in_sd_notify_words(line: Supervised, tmp_path: Path) -> None:
    with orchestrator_at(runtime.notify_socket(tmp_path)) as ours:
        line.status("starting\nup")
        assert received(ours) == {"X_INCARNATION": line.incarnation, "STATUS": "starting up"}
        line.ready("all there")
        assert received(ours) == {"X_INCARNATION": line.incarnation, "READY": "1", "STATUS": "all there"}
        line.watchdog()
        assert received(ours) == {"X_INCARNATION": line.incarnation, "READY": "1", "WATCHDOG": "1"}
        line.unready("database away")
        assert received(ours) == {"X_INCARNATION": line.incarnation, "X_READY": "0", "STATUS": "database away"}
        with line.blocking(2.5, "loading a profile"):
            assert received(ours) == {
                "X_INCARNATION": line.incarnation,
                "EXTEND_TIMEOUT_USEC": "2500000",
                "X_DOING": "loading a profile",
            }
        assert received(ours)["EXTEND_TIMEOUT_USEC"] == "0"
        line.desired({"meta", "api"})
        assert received(ours)["X_DESIRED"] == "api,meta"
        line.stopping("draining")
        assert received(ours) == {"X_INCARNATION": line.incarnation, "STOPPING": "1", "STATUS": "draining"}
    assert line.watchdog_interval_s == 0.75
    assert line.incarnation.startswith("meta-1.")


def test_an_undelivered_notification_goes_to_the_next_orchestrator(line: Supervised, tmp_path: Path) -> None:
    line.ready("up")
    line.desired(["meta"])
    line.watchdog()
    with orchestrator_at(runtime.notify_socket(tmp_path)) as ours:
        line.watchdog()
        assert received(ours) == {
            "X_INCARNATION": line.incarnation,
            "READY": "1",
            "STATUS": "up",
            "X_DESIRED": "meta",
            "WATCHDOG": "1",
        }
        line.watchdog()
        assert received(ours) == {"X_INCARNATION": line.incarnation, "READY": "1", "WATCHDOG": "1"}


def test_an_overrun_orchestrator_does_not_block_us(line: Supervised, tmp_path: Path) -> None:
    with orchestrator_at(runtime.notify_socket(tmp_path)) as ours:
        for _ in range(2000):
            line.watchdog()
        line.ready()
        while "READY" not in received(ours):
            line.watchdog()
    line.close()
    line.watchdog()


def test_takes_the_slot_and_leaves_last_words(line: Supervised, identity: ChildEnvironment, tmp_path: Path) -> None:
    path = runtime.slot_lock_file(tmp_path, "meta-1")
    with pytest.raises(SlotTaken, match=line.incarnation):
        Supervised.from_environment(identity, tmp_path)
    holder = read_holder(path)
    assert holder and holder.pid == os.getpid() and holder.is_running() and holder.exit_code is None
    line.last_words(75, "two sends were\nnot finished")
    holder = read_holder(path)
    assert holder and (holder.exit_code, holder.exit_reason) == (75, "two sends were not finished")


def test_inherits_lock_and_incarnation(identity: ChildEnvironment, tmp_path: Path) -> None:
    path = runtime.slot_lock_file(tmp_path, "meta-1")
    lock = SlotLock.take(path)
    child_environment = ChildEnvironment(
        process_name="meta",
        process_instance=1,
        process_incarnation="meta-1.abc",
        slot_lock_fd=lock.fd,
        process_admin_port=3221,
        port=3002,
    )
    supervised = Supervised.from_environment(child_environment, tmp_path)
    assert (supervised.incarnation, supervised.lock_fd) == ("meta-1.abc", lock.fd)
    holder = read_holder(path)
    assert holder and (holder.admin_port, holder.public_port) == (3221, 3002)
    supervised.watchdog()  # no orchestrator was named: nothing happens
    supervised.close()
    supervised.close()
    lock.close()


def test_commands_arrive_and_nonsense_does_not_harm(line: Supervised, tmp_path: Path) -> None:
    address = str(runtime.slot_socket(tmp_path, "meta-1"))
    with orchestrator_at(runtime.notify_socket(tmp_path)) as ours:
        for datagram in (
            ask_command(Command.NOTIFY),
            b"\xff\x00",
            b"[]",
            b'{"command": 7}',
            b'{"command": "explode"}',
            ask_command(Command.PING),
            ask_command(Command.DRAIN),
        ):
            ours.sendto(datagram, address)
        assert line.fileno() > 0
        assert line.receive() == [Command.NOTIFY, Command.PING, Command.DRAIN]
        assert received(ours) == {"X_PONG": line.incarnation}
        assert line.receive() == []


def test_hands_over_its_listening_socket(tmp_path: Path) -> None:
    listener = bind_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    child_environment = ChildEnvironment(
        process_name="api", port=port, listen_fd=listener.detach(), notify_socket=str(runtime.notify_socket(tmp_path))
    )
    line = Supervised.from_environment(child_environment, tmp_path)
    (served,) = line.listening_sockets()
    served.close()  # as a server that drains does
    with orchestrator_at(runtime.notify_socket(tmp_path)) as ours:
        ours.sendto(ask_descriptors(), str(runtime.slot_socket(tmp_path, "api-0")))
        assert line.receive() == []
        message, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(16))
        assert notify.parse(message) == {"X_INCARNATION": line.incarnation, "X_LISTENERS": "1"}
        (fd,) = array.array("i", ancillary[0][2])
    line.close()
    os.close(line.lock_fd)
    with socket.socket(fileno=fd) as recovered, socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = recovered.accept()
        accepted.close()
        assert client.recv(1) == b""


def test_a_start_makes_no_siblings_accept_block(tmp_path: Path) -> None:
    """All instances share one open socket: a sibling that takes connections until there is none must not stand still
    because we start."""
    with bind_listener("127.0.0.1", 0) as ours:
        siblings = os.dup(ours.fileno())
        child_environment = ChildEnvironment(
            process_name="api", port=ours.getsockname()[1], listen_fd=os.dup(ours.fileno())
        )
        line = Supervised.from_environment(child_environment, tmp_path)
        (served,) = line.listening_sockets()
        assert not os.get_blocking(siblings)
        served.close()
        line.close()
        assert not os.get_blocking(siblings)
        os.close(siblings)
    os.close(line.lock_fd)


def test_binds_its_port_when_started_by_hand(tmp_path: Path) -> None:
    with bind_listener("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    line = Supervised.from_environment(ChildEnvironment(process_name="api", port=port), tmp_path)
    (served,) = line.listening_sockets()
    served.close()
    line.stopping()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    line.close()
    os.close(line.lock_fd)


def test_no_port_no_socket(line: Supervised) -> None:
    assert line.listening_sockets() == []


def test_a_descriptor_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    with socket.socket() as idle:
        line = Supervised.from_environment(ChildEnvironment(process_name="api", listen_fd=idle.fileno()), tmp_path)
        with pytest.raises(ListeningSocketInvalid, match="does not listen"):
            line.listening_sockets()
    line.close()
    os.close(line.lock_fd)


def test_a_home_with_a_long_name_gets_short_sockets(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    directory = runtime.runtime_dir(home)
    assert directory == runtime.runtime_dir(home)
    assert not directory.is_relative_to(home)
    assert directory != runtime.runtime_dir(tmp_path / ("gone" * 30))
    child_environment = ChildEnvironment(process_name="webdriver", notify_socket=str(runtime.notify_socket(home)))
    line = Supervised.from_environment(child_environment, home)
    assert runtime.slot_lock_file(home, "webdriver-0").parent == home / "run"
    line.close()
    os.close(line.lock_fd)
    directory.rmdir()
    runtime.runtime_dir(tmp_path / ("gone" * 30)).rmdir()


def test_directories_are_private_but_stay_searchable_if_made_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert runtime.run_dir(home).stat().st_mode & 0o777 == 0o700
    (home / "run").chmod(0o777)
    assert runtime.run_dir(home).stat().st_mode & 0o777 == 0o711
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "run").symlink_to(home)
    with pytest.raises(runtime.RuntimeDirectoryUnsafe):
        runtime.run_dir(tmp_path / "link")


def test_incarnations_differ() -> None:
    assert new_incarnation("api-0", "here") != new_incarnation("api-0", "here")
