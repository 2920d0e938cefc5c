"""Workflows of the area storage."""
