"""VAEs, and what families share of encoding with them: from pixels to the contents of a cache entry."""
