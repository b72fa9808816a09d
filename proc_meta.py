"""Entry of kind meta: Meta's Cloud API and 360dialog, and their webhooks."""

import sys

from meta.service import open_service
from shared.process.child import run_child

if __name__ == "__main__":
    sys.exit(run_child("meta", open_service))
