"""Resources of the area storage."""
