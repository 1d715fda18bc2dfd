"""What the VAEs of several families share, from pixels to the contents of a cache entry."""
