"""Fields of moving scenes: what all kinds share, and a package for each kind."""
