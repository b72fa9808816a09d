"""Keys, scopes and companies: each sees its own, and only what it may."""
