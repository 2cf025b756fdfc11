"""What a user hands over, turned into clean Python values."""
