"""Quantised weights to plain ones, one tensor at a time: exact in float32, then rounded once to the model's dtype."""
