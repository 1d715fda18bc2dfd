"""How captions are read: the wording around them, what is cut off and told of it, and which go together."""

from blissmask.families.encoders import qwen_chat
from blissmask.families.encoders.captions import CaptionReader, CaptionTemplate
from blissmask.families.encoders.text_batches import batches_by_length


def letters(text, *, add_special_tokens=True, verbose=True):
    """A tokenizer whose tokens are letters, with one mark at the end."""
    ids = [ord(letter) for letter in text]
    return {"input_ids": [*ids, 0] if add_special_tokens else ids}


def read(template, caption):
    return "".join(map(chr, template.token_ids(letters, [caption])[caption]))


def test_the_tail_is_cut_off_with_the_end_of_a_long_caption():
    template = CaptionTemplate(tokens=6, head="H:", tail=".T", marks=False)
    assert read(template, "abc") == "H:abc.T"[:8]
    assert read(template, "abcdefg") == "H:abcdef"


def test_a_tail_that_is_kept_takes_its_room_from_the_caption():
    template = CaptionTemplate(tokens=6, head="H:", tail=".T", keeps_tail=True, marks=False)
    assert read(template, "abc") == "H:abc.T"
    assert read(template, "abcdefg") == "H:abcd.T"
    assert CaptionReader(template, letters).most == 4


def test_a_head_that_counts_takes_its_room_from_the_caption():
    template = CaptionTemplate(tokens=6, head="H:", tail=".T", counts_head=True, marks=False)
    assert read(template, "abcdefg") == "H:abcd"
    assert CaptionReader(template, letters).most == 4


def test_marks_of_the_tokenizer_count_and_captions_are_cleaned_first():
    template = CaptionTemplate(tokens=4, clean=str.strip)
    assert read(template, " ab ") == "ab\0"
    assert read(CaptionTemplate(tokens=4, clean=str.strip, marks=False), " ab ") == "ab"


def test_a_chat_is_the_users_turn_with_the_beginning_of_the_answer():
    template = qwen_chat.captions_in_chat(tokens=512)
    assert template.around("a cat") == "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n"
    assert all(special in template.around("") for special in template.specials)
    told = qwen_chat.captions_in_chat("Look.", tokens=512)
    assert told.head == "<|im_start|>system\nLook.<|im_end|>\n<|im_start|>user\n"


def test_captions_are_batched_by_length_within_the_token_limit():
    lengths = {f"{number:03d}": 1 + number * 7 % 512 for number in range(300)}
    batches = list(batches_by_length(lengths))
    assert sorted(key for batch in batches for key in batch) == sorted(lengths)
    assert all(len(batch) * max(lengths[key] for key in batch) <= 4096 for batch in batches)
    assert len(batches) < 30
