"""The browser channel: WhatsApp Web in real Chromium, one browser for each session.

May import: `shared`. Promises: a session that fails, hangs or leaks touches no other; no Chromium outlives this
process; `browser.py` is the only door to pyppeteer.
"""
