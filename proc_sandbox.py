"""Entry of kind sandbox: local stand-ins for Meta, 360dialog and WhatsApp Web."""

import sys

from shared.process.child import open_from, run_child

if __name__ == "__main__":
    sys.exit(run_child("sandbox", open_from("sandbox.service")))
