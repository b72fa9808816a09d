"""Becomes ready and dies at once, for ever."""

import os
import sys

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
sys.stderr.write("cannot go on\n")
sys.stderr.flush()
os._exit(1)
