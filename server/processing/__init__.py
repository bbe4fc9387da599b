"""From a parsed request to its result: prompts, tokenization, limits, post-processing. No HTTP."""
