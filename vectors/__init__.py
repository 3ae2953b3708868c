"""Golden bytes, each with its origin, and the scripts that make them."""
