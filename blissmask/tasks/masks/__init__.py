"""What `masks` does."""
