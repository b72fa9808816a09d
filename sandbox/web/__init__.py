"""Stand-in for WhatsApp Web: a page with an object shaped like wa-js's `WPP`, and the phone that it is linked to.

The page (`*.js`) lives in a browser profile, the phone lives here (`phones.py`), and `routes.py` joins them over HTTP.
The ledger records what arrived at the phone under channel `web`.
"""

from sandbox.web.phones import Phones
from sandbox.web.routes import web_routes

__all__ = ["Phones", "web_routes"]
