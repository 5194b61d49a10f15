"""Peers at sites that keep their rows."""
