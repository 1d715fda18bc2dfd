"""The cache on disk: names, keys, fingerprints, reading and writing."""
