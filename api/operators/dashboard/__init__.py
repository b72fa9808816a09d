"""The operators' page: `page.py` gives its data, the other files are what the browser gets."""
