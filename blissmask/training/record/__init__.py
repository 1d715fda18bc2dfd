"""What a run leaves behind: training states, LoRA files, logs."""
