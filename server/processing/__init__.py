"""From a parsed request to its result: prompts, tokenization, limits and post-processing. No HTTP."""
