"""`train --convert-lora`: write a LoRA file in another spelling. Neither a model nor a cache is needed."""

from __future__ import annotations

