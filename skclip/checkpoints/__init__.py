"""Models on disk and on the hub: find, load and save them with tokenizer and preprocessing."""
