"""Entry of kind webdriver: WhatsApp Web in real Chromium, one browser for each session."""

import sys

from shared.process.child import open_from, run_child

if __name__ == "__main__":
    sys.exit(run_child("webdriver", open_from("webdriver.service")))
