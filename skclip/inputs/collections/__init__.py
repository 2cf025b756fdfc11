"""Collections of images on disk: folders, tables and shards, read row by row."""
