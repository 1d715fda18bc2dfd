"""`train --rank-loras`: which saved LoRA of a training is the best, by what they draw and by what is held out."""
