"""The bodies of a photo: found, fitted with landmarks and a mask, and linked to faces."""
