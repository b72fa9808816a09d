"""Proof. Unit tests, tests of one room against real servers, architecture tests, and the whole program in
`tests/end_to_end`."""

import pytest

# Before anything imports it, so that its asserts explain themselves like a test's.
pytest.register_assert_rewrite("tests.support")
