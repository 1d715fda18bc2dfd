"""Identities: a photo becomes faces, and each face an embedding by which a person is recognised."""
