"""Where a family's weights come from: single files, diffusers folders, miniatures; and who reads its LoRA files."""
