"""hearth check: compare a loaded model with a reference, or with another server."""
