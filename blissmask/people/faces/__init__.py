"""Identities: a photo becomes faces, and each face an embedding by which a person is recognised.

A file with ``face_reader(options)`` is an identity, and its name is the value of ``instance --identity``.
"""
