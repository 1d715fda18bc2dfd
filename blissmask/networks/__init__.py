"""Networks that the user brings: where their files are, what they want to see, and how they are run. Torch is imported late."""
