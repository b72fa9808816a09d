"""Writes without end."""

import itertools
import sys

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
numbers = itertools.count(1)


def shout() -> bool:
    for _ in range(200):
        sys.stderr.write(f"{next(numbers):012d} {'x' * 100}\n")
    sys.stderr.flush()
    return False


life.run(until=shout)
life.leave()
