"""Other people's clients against a node and against a real sqld, their answers compared."""
