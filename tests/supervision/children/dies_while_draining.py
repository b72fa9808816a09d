"""Is asked to stop and crashes over it."""

import os

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
life.run()
life.line.stopping()
os.abort()
