"""What is trained on, as far as a training plans and reads it: the cached data sets, and how up to date they are."""
