"""Semantic backends: a photo becomes face, hair, body and background."""
