"""Leaves with code 0 although no process asked."""

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
life.leave(0, "I thought I was done")
