"""`to-alpha`: masks in the alpha channel of the photos."""
