"""Fixtures of the supervision tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import settings_variables
from tests.supervision.house import House


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    """An orchestrator under test, not started."""
    made = House(home, settings_variables(home))
    yield made
    made.close()
