"""`cache --captions`: describe photos that have no caption, with a vision-language model that the user brings."""
