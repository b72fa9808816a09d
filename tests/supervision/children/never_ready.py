"""Beats but never becomes ready."""

from tests.supervision.children.childhood import Life

life = Life()
life.run()
life.leave()
