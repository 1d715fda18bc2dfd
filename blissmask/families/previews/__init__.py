"""Previews: a prompt that is ready, the pipeline of a family, and drawing the one with the other."""
