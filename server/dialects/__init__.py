"""One way to speak per file: parse a body into a call, write a result or an error as bytes."""
