"""Which test leaves what it did not close: `-p tests.support.garbage` collects garbage after each test.

Without it that is done at the end of each file, where the last test fails.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_garbage_of_a_test() -> Iterator[None]:
    """Collect what the test leaves."""
    yield
    gc.collect()
