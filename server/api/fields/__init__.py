"""Which fields of a request body are known to be unsupported, on every route alike."""
