"""What happened: read as a feed, and sent to webhooks."""
