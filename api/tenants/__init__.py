"""Keys of API clients, and what was done with them."""
