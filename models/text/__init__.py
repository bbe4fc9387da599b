"""Text to token ids: the tokenizer, and every prompt that a model is shown. No torch."""
