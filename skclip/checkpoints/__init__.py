"""A name or a path, turned into a model with its tokenizer and its preprocessing."""
