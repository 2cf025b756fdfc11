"""Embeddings of images and texts."""
