"""Fixtures of the supervision tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import settings_variables
from tests.supervision.env import SupervisionEnv


@pytest.fixture
def env(home: Path) -> Iterator[SupervisionEnv]:
    """An orchestrator under test, not started."""
    made = SupervisionEnv(home, settings_variables(home))
    yield made
    made.close()
