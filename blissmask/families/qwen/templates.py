"""The chat templates that Qwen-Image and its Edit models put around a caption.

Sources: the Qwen-Image repository, diffusers' pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass

from blissmask.families.encoders import qwen_chat

IMAGE_TOKEN = "<|image_pad|>"
SPECIALS = (*qwen_chat.SPECIALS, "<|vision_start|>", "<|vision_end|>", IMAGE_TOKEN)
_PICTURE = f"<|vision_start|>{IMAGE_TOKEN}<|vision_end|>"


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What stands around a caption.

    Attributes:
        system: the instruction of the system turn.
        picture: what stands for picture number ``{}`` before the caption; None where captions are encoded alone.
        picture_area: pixels at which the encoder sees a picture.
    """

    system: str
    picture: str | None = None
    picture_area: int = 0

    @property
    def head(self) -> str:
        """Return everything before the pictures and the caption; its rows are dropped."""
        return qwen_chat.head(self.system)

    def around(self, caption: str, pictures: int) -> str:
        """Return the whole text of a caption with its pictures."""
        shown = "".join(self.picture.format(number + 1) for number in range(pictures)) if self.picture else ""
        return f"{self.head}{shown}{caption}{qwen_chat.TAIL}"

    @property
    def fingerprint(self) -> tuple[str, str]:
        """Return the wording and the size of pictures: with other ones, the same weights give other embeddings."""
        return self.around("", 1), str(self.picture_area)


# The wording is the model's training data: a changed letter changes every embedding.
GENERATE = ChatTemplate(
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
    "objects and background:"
)
CAPTIONS = qwen_chat.captions_in_chat(GENERATE.system, tokens=1024, clean=str.strip)
"""How captions are read alone; with pictures, they are read at any length."""
_EDIT_SYSTEM = (
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain how "
    "the user's text instruction should alter or modify the image. Generate a new image that meets the user's "
    "requirements while maintaining consistency with the original input where appropriate."
)
EDIT = ChatTemplate(_EDIT_SYSTEM, picture=_PICTURE, picture_area=1024 * 1024)
EDIT_PLUS = ChatTemplate(_EDIT_SYSTEM, picture=f"Picture {{}}: {_PICTURE}", picture_area=384 * 384)
