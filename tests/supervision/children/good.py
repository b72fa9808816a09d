"""Does everything right."""

from tests.supervision.children.childhood import ordinary

ordinary()
