"""A sandbox and a webhook for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.env import Receiver, SandboxEnv


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The product's webhook."""
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def quiet_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnv]:
    """One sandbox for those tests of a module that leave no trace in it."""
    receiver = Receiver()
    with SandboxEnv(tmp_path_factory.mktemp("quiet"), receiver) as started:
        yield started
    receiver.close()


@pytest.fixture
def env(tmp_path: Path, receiver: Receiver) -> Iterator[SandboxEnv]:
    """A sandbox with the default configuration."""
    with SandboxEnv(tmp_path / "sandbox", receiver) as started:
        yield started
