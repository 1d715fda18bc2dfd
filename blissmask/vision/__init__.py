"""The small embedded networks that ship with the package."""
