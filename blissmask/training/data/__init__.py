"""Cache entries as training items, in micro-batches."""
