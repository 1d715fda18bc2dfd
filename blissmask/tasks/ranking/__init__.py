"""What `--rank-loras` and `--rank-items` share: LoRA files of a training that is over, and the model they change."""
