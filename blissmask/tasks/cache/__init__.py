"""What `cache` does."""
