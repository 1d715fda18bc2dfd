"""An example of a package that adds a mask backend to blissmask."""
