"""Model families, one folder a model line: each encodes pictures and captions and predicts, behind one protocol.

The docstring of a folder is the family's page: paper or repository, parts, tensors, conventions, what is cached.
"""
