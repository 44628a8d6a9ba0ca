"""Faults of the world, each in a short form and with real servers."""
