"""Text encoders that several families share."""
