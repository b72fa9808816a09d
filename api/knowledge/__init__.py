"""Documents of companies, and searches in them."""
