"""What `cache` will do, item by item."""
