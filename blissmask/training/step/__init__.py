"""One optimiser step: what its items count, gradients, and the numbers that the logs show of it."""
