"""Processes of the area identity."""
