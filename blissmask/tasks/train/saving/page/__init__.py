"""The page of a training, ``NAME.html`` beside the LoRA."""
