"""HTTP/1.1 for small POSTs by the thousand: messages to providers and deliveries to subscribers of webhooks. What it
promises, and why it is no library's: docs/adr/0100-messages-are-posted-without-aiohttp.md.
"""
