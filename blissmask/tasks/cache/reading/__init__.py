"""What one cache entry is made from: its pixels, its control pictures and its mask, at training size."""
