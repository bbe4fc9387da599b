"""One API format per file: parse a request body, write a response or an error."""
