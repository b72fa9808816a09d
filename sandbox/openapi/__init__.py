"""The part of Meta's OpenAPI document that the stand-ins need, and validators made from it.

`business_messaging_v23.json` is cut out of Meta's document unchanged by `extract.py` (MIT, LICENSE.facebook-openapi);
`amendments.py` corrects it, each correction with its reason.
"""
