"""Whole collections to Parquet files."""
