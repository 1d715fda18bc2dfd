"""The optimiser and its state."""
