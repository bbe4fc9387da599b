"""Chat templates: a prompt of the model's own, for messages and for pairs to rerank, rendered by its own code."""
