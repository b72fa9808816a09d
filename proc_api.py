"""Entry of kind api: HTTP for API clients and operators."""

import sys

from api.room import open_service
from shared.process.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("api", open_service))
