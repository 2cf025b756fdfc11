"""File suffixes that tell images, tables and shards apart."""

import os

# in the order of preference, if a sample of a shard has several image files
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".jp2", ".avif"),
)
CSV_SUFFIXES = (".csv", ".tsv")
PARQUET_SUFFIXES = (".parquet", ".pq")
SHARD_SUFFIXES = (".tar",)
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def suffix_of(file):
    """Return the last suffix of a file name in lower case, with its dot."""
    return os.path.splitext(file)[1].lower()
