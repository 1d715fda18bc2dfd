"""`train --rank-items`: the loss of every item with a LoRA and without; what is unlike the others comes first."""
