"""Entry of kind example."""

import sys

from example.service import open_service

from shared.process.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("example", open_service))
