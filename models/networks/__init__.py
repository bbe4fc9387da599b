"""Our own networks over packed batches, one per file."""
