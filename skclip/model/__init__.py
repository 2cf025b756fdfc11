"""CLIP itself, in torch: image towers, text tower, tokenizer."""
