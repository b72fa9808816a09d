"""Entry of kind hooks: outgoing webhooks."""

import sys

from hooks.service import open_service
from shared.process.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("hooks", open_service))
