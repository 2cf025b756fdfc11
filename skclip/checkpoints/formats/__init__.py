"""The checkpoint layouts, one file each."""
