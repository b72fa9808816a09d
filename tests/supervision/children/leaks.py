"""Grows by as much as FIXTURE_LEAK_MB says, and stays there."""

import os

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
hoard = bytearray(os.urandom(1024 * 1024)) * int(os.environ["FIXTURE_LEAK_MB"])
life.run()
life.leave()
