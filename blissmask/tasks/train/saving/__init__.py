"""What a training saves, whether there is room for it, and what happens where there is none."""
