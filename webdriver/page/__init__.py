"""WhatsApp Web in a tab: what is asked of it, what it reports, and what its answers mean."""
