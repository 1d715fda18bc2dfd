"""Texts beyond a stated size are refused by name before they take memory or minutes."""

import json
import resource
import tracemalloc

import pytest

from blissmask.config.load import load_config
from blissmask.dataset.captions.caption_file import read_caption
from blissmask.dataset.item import MediaKind
from blissmask.dataset.jsonl import read_jsonl
from blissmask.errors import InputError, UsageError
from blissmask.storage.limits import MOST_CAPTION, MOST_KEYS, MOST_LINE, refuse_larger
from blissmask.tasks.train.previews.prompt_file import read_prompts


def sparse(path, size):
    """Write a file of any size that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_caption_of_gigabytes_is_refused_and_not_read(tmp_path):
    tracemalloc.start()
    with pytest.raises(InputError, match="the caption cannot be read: it is larger than the 1 MB"):
        read_caption(sparse(tmp_path / "a.txt", 3 << 30))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_caption_of_the_largest_size_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("x" * MOST_CAPTION)
    assert len(read_caption(tmp_path / "a.txt")) == MOST_CAPTION


def test_a_line_that_never_ends_is_refused_with_its_number_and_not_read_whole(tmp_path):
    (tmp_path / "list.jsonl").write_text("\n" + "x" * 5 * MOST_LINE)
    tracemalloc.start()
    with pytest.raises(InputError, match="longer than the 1000000 characters") as caught:
        read_jsonl(tmp_path / "list.jsonl", MediaKind.IMAGE)
    assert caught.value.problems[0].where == (f"{tmp_path / 'list.jsonl'}:2",)
    assert tracemalloc.get_traced_memory()[1] < 8 * MOST_LINE
    tracemalloc.stop()


def test_a_list_may_be_longer_than_any_of_its_lines(tmp_path):
    line = json.dumps({"image_path": "a{}.png", "caption": "x" * 10_000})
    (tmp_path / "list.jsonl").write_text("\r\n".join(line.replace("{}", str(number)) for number in range(150)))
    items, _ = read_jsonl(tmp_path / "list.jsonl", MediaKind.IMAGE)
    assert [item.media.stem for item in items] == [f"a{number}" for number in range(150)]


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
def test_a_configuration_of_gigabytes_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot read the configuration: it is larger than the 1 MB"):
        load_config(sparse(tmp_path / name, 3 << 30), {})


def test_a_configuration_of_too_many_keys_is_refused_without_advice_for_each(tmp_path):
    (tmp_path / "a.toml").write_text("[train]\n" + "".join(f"key{number} = 1\n" for number in range(MOST_KEYS + 1)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(UsageError, match=f"more than the {MOST_KEYS} keys"):
        load_config(tmp_path / "a.toml", {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 10


def test_keys_of_all_data_sets_count(tmp_path):
    table = "[[datasets]]\n" + "".join(f"k{number} = 1\n" for number in range(100))
    (tmp_path / "a.toml").write_text(table * (MOST_KEYS // 100 + 1))
    with pytest.raises(UsageError, match=f"more than the {MOST_KEYS} keys"):
        load_config(tmp_path / "a.toml", {})


def test_prompts_of_gigabytes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="the prompts cannot be read: it is larger than the 1 MB"):
        read_prompts(sparse(tmp_path / "a.txt", 3 << 30))


def test_a_file_that_is_missing_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        refuse_larger(tmp_path / "a.txt", 1)
