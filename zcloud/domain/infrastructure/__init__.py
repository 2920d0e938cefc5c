"""Resources of the area infrastructure."""
