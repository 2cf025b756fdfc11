"""From a user's collections of images and texts to plain Python values."""
