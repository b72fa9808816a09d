"""Fixtures over a real database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conversations.env import ConversationEnv
from tests.store.conftest import env as store_env
from tests.store.conftest import kept_database_url
from tests.store.env import StoreEnv

__all__ = ["kept_database_url", "store_env"]


@pytest.fixture
def env(store_env: StoreEnv) -> Iterator[ConversationEnv]:
    """A company with an assistant, whose customers can reach a human, and one connection."""
    made = ConversationEnv(store_env)
    made.set(enableAssistant=True, enableHumanHandoff=True)
    yield made
