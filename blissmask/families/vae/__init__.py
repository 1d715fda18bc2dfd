"""What the VAEs of several families share."""
