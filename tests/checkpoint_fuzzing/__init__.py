"""Damage to small checkpoints, and a process that loads them."""
