"""What README and the pages under docs tell people to type."""
