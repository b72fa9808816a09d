"""Lives for as long as FIXTURE_LIFE_S says, then dies."""

import os
import time

from tests.supervision.children.childhood import Life

life = Life()
by = time.monotonic() + float(os.environ["FIXTURE_LIFE_S"])
life.line.ready()
life.run(lambda: time.monotonic() > by)
if life.terms:
    life.leave()
os._exit(1)
