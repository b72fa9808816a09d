"""Finds its environment wrong unless COMPANY_ID contains api."""

import os

from tests.supervision.children.childhood import Life

life = Life()
if "api" not in os.environ["COMPANY_ID"]:
    life.leave(78, "COMPANY_ID must contain api")
life.line.ready()
life.run()
life.leave()
