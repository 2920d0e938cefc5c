"""What is not standard about the RPCs of the area identity."""
