"""From pictures, masks and captions to the contents of cache entries."""
