"""Our own networks, one per file; their registry, weights and prefix cache."""
