"""Cannot start."""

import sys

sys.stderr.write("no disk\n")
sys.exit(70)
