"""Entry of kind index: reads documents, embeds their passages and answers searches."""

import sys

from shared.process.child import open_from, run_child

if __name__ == "__main__":
    sys.exit(run_child("index", open_from("index.service")))
