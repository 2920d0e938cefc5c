"""Resources of the area operations."""
