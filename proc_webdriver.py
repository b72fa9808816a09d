"""Entry of kind webdriver: WhatsApp Web in real Chromium, one browser for each session."""

import sys

from shared.process.child import run_child
from webdriver.service import open_service

if __name__ == "__main__":
    sys.exit(run_child("webdriver", open_service))
