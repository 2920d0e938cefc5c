"""Resources of the area network."""
