"""Pictures and clips that are drawn while training."""
