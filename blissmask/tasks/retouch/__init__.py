"""Mend masks by hand, on a page that this machine serves to itself."""
