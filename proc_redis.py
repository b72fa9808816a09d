"""Entry of kind redis: the embedded Redis server as a supervised child."""

import sys

from embedded.entry import run_server
from embedded.redis_server import prepare

if __name__ == "__main__":
    sys.exit(run_server("redis", prepare))
