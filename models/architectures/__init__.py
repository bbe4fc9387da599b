"""Our own packed networks, one per file."""
