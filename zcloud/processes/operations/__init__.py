"""Workflows of the area operations."""
