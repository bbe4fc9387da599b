"""Building blocks of a forward pass: linear layers, attention, pooling."""
