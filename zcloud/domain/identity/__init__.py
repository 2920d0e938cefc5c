"""Resources of the area identity."""
