"""`train --convert-lora`: a LoRA file in another format."""
