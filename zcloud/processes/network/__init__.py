"""Workflows of the area network."""
