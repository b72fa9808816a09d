"""Tests of `shared.inbound`."""
