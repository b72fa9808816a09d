"""Fixtures of kind `ai`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ai.env import AiEnv
from tests.sandbox.env import Receiver, SandboxEnv
from tests.store.conftest import env, kept_database_url
from tests.store.env import StoreEnv

__all__ = ["env", "kept_database_url"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnv]:
    """The sandbox's model."""
    receiver = Receiver()
    with SandboxEnv(tmp_path_factory.mktemp("model"), receiver) as started:
        yield started
    receiver.close()


@pytest.fixture
def ai(home: Path, env: StoreEnv, model: SandboxEnv) -> Iterator[AiEnv]:
    """The process, not started; its company has an assistant."""
    made = AiEnv(home, env, model).set()
    yield made
    made.close()
