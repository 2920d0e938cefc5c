"""Workflows: what hosts must do, step by step, each with its undo."""
