"""Entry of kind ai: the assistant."""

import sys

from shared.process.child import open_from, run_child

if __name__ == "__main__":
    sys.exit(run_child("ai", open_from("ai.service")))
