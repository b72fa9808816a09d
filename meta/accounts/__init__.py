"""Connections: their credentials, health, setup, signup and templates."""
