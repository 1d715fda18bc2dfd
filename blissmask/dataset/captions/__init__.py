"""Captions: the files that hold them, the words that are filled in, the orders of their tags."""
