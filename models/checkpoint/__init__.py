"""The files of a model: find, download, verify and read them. No torch."""
