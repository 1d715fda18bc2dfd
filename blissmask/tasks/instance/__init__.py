"""What `instance` does."""
