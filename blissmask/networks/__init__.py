"""Networks that the user brings: where their files are, how pictures are prepared for them, and how they are run.

Torch and transformers are imported inside functions, so that a plan that only names files stays quick.
"""
