"""Embedding of whole collections into Parquet files."""
