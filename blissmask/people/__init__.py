"""Instance backends and identity: a photo becomes people, and the one we want."""
