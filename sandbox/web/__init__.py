"""Stand-in for WhatsApp Web: a page with an object of the shape of wa-js's `WPP`, and the phone that it is linked to.

The page (`*.js`) lives in a browser profile, the phone lives here (`phones.py`), and `routes.py` joins them over HTTP.
What truly arrived at the phone stands in the ledger under channel `web`.
"""

from sandbox.web.phones import Phones
from sandbox.web.routes import web_routes

__all__ = ["Phones", "web_routes"]
