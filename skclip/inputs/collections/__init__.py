"""Collections of images on disk, by row: folders, tables, shards."""
