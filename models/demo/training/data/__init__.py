"""What the demo pair learns from: words, sentences, the vectors of its teacher, and the tokenizer made of them."""
