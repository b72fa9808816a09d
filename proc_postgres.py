"""Entry of kind postgres: the embedded PostgreSQL server as a supervised child."""

import sys

from embedded.entry import run_server
from embedded.postgres import prepare

if __name__ == "__main__":
    sys.exit(run_server("postgres", prepare))
