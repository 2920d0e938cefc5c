"""Resources of the area compute."""
