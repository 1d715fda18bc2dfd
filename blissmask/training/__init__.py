"""The mask-weighted loss and the loop around it."""
