"""One API format per file, and the parsing and shapes that several of them share."""
