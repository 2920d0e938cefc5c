"""Workflows of the area compute."""
