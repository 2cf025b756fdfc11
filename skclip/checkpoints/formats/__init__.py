"""One file per checkpoint layout."""
