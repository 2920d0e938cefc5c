"""Workflows of the area infrastructure."""
