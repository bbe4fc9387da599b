"""The built-in demo pair: two small model folders, and the scripts that make them."""
