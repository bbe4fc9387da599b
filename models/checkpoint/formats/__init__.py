"""Quantised weights: which stored tensors make up one weight, one format a file. No torch: nothing is computed."""
