"""Browser sessions: decisions, the driver of Chromium and page, and what is reported about them."""
