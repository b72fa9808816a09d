"""Stands still for as long as it said it would, then goes on."""

import os
import time

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
with life.line.blocking(30.0, "a long import"):
    time.sleep(float(os.environ["FIXTURE_BLOCK_S"]))
life.line.status("back")
life.run()
life.leave()
