"""`train --convert-lora`: a LoRA file in another format, averaged or merged with others, or of a lower rank."""
