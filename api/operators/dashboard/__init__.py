"""The operators' page: `page.py` serves its data, the other files go to the browser."""
