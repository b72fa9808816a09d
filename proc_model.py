"""Entry of kind model: a language model's own server as a supervised child."""

import sys

from embedded.entry import run_server
from embedded.local_model import prepare

if __name__ == "__main__":
    sys.exit(run_server("model", prepare))
