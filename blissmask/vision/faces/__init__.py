"""The faces of a photo: found, verified by a mesh of points, and turned into embeddings."""
