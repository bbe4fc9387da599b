"""The forms of the vectors in an answer, and the space that they lie in."""
