"""Entry of kind api: HTTP for API clients and operators. `--requests` answers one operator's command and
exits, `--doctor` checks the servers."""

import sys

from api.requests import answer_requests
from api.room import open_service
from api.server_checks import check_servers
from shared.process.child import run_child


def main(argv: list[str]) -> int:
    """Run the process, or do what one command needs, and return the exit code."""
    if argv == ["--doctor"]:
        return check_servers()
    return answer_requests() if argv == ["--requests"] else run_child("api", open_service)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
