"""Semantic backends: a photo becomes face, hair, body and background.

A backend gives every pixel a class, and every class belongs to a weight tier. ``parts_backend.py`` describes it; a file
with ``backend(options)`` is one, and its name is the value of ``masks --backend``.
"""
