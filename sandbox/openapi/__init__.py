"""Meta's own OpenAPI document, the part that the stand-ins need, and the validators made from it.

`business_messaging_v23.json` is cut out of Meta's document unchanged by `extract.py` (MIT, LICENSE.facebook-openapi);
what has to be read differently from how it is written stands in `amendments.py`, each with its reason.
"""
