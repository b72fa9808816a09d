"""Closes its notify socket and goes on working."""

import time

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
life.line.close()
while not life.terms:
    time.sleep(0.05)
