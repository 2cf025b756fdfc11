"""Vectors from images and texts."""
