"""Instance backends and identity: a photo becomes people, and one of them is the subject.

A file with ``backend(options)`` is an instance backend, and its name is the value of ``instance --backend``. Identities
are in ``faces/``.
"""
