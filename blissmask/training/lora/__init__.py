"""The LoRA: its layers, its files and their formats."""
