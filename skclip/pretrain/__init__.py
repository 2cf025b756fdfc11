"""Contrastive pretraining of CLIP on image-text pairs."""
