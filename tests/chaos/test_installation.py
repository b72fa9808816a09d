"""What is seen of an installation from outside: how much a process has not read of what was posted to it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from chaos.calls import Calls
from chaos.installation import ChaosInstallation
from shared.settings import load
from tests.support.waiting import eventually


def test_bytes_that_a_process_has_not_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        installation = ChaosInstallation(tmp_path, {}, {}, Calls())
        installation.settings = load({"META_PORT": str(listener.getsockname()[1])})

        def unread() -> int:
            return installation.unread_bytes(os.getpid(), "meta")

        with socket.create_connection(listener.getsockname()) as client:
            assert unread() == 0, "a connection that waits to be accepted holds nothing"
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b"proof")
                eventually(lambda: unread() == 5, 5.0, "the bytes are there, unread")
                accepted.recv(5)
                assert unread() == 0
