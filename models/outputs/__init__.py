"""The forms in which vectors are given out: fewer bits a number, what each form loses, and the space vectors lie in."""
