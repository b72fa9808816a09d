"""Says which kinds are wanted: what the file `wanted-by-fixture` in the home holds, looked at again when poked or often."""

import os
from pathlib import Path

from tests.supervision.children.childhood import Life

life = Life()
life.line.ready()
wish = Path(os.environ["BULKHEAD_HOME"], "wanted-by-fixture")
said: list[list[str]] = []


def look() -> bool:
    now = wish.read_text().split() if wish.exists() else None
    if now is not None and said[-1:] != [now]:
        life.line.wanted(now)
        said.append(now)
    return False


life.run(until=look)
life.leave()
