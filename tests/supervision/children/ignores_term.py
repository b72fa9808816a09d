"""Ignores SIGTERM."""

import signal

from tests.supervision.children.childhood import Life

life = Life()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
life.line.ready()
life.run()
