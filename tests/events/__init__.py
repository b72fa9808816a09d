"""Tests of `shared.events`."""
