"""A sandbox and a webhook for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.house import House, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The product's webhook."""
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def quiet_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One sandbox for those tests of a module that leave no trace in it."""
    receiver = Receiver()
    with House(tmp_path_factory.mktemp("quiet"), receiver) as started:
        yield started
    receiver.close()


@pytest.fixture
def house(tmp_path: Path, receiver: Receiver) -> Iterator[House]:
    """A sandbox with the default configuration."""
    with House(tmp_path / "sandbox", receiver) as started:
        yield started
