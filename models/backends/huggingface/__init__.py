"""Backends on the networks of transformers and sentence-transformers."""
