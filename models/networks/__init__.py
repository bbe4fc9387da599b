"""Our own networks over packed batches, one per file; their registry, weights and prefix cache."""
