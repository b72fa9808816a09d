"""Tests of `shared.conversations`."""
