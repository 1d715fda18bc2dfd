"""Previews and rankings on the page of a training: what is shown, how large it gets, and what is out of date."""

import json
import os

import numpy as np
import pytest

from blissmask.errors import MachineError
from blissmask.media.video_writer import write_mp4
from blissmask.storage import atomic
from blissmask.tasks.train.saving.page import previews_grid as previews_of_page
from blissmask.tasks.train.saving.page.previews_grid import previews_grid
from blissmask.tasks.train.saving.page.rankings import renew_rankings
from blissmask.training.record.saving import output_names
from tests.builders.pictures import random_rgb, save


def grid(folder, prompts=("kyla at the sea",)):
    return "\n".join(previews_grid(folder, "kyla", prompts, step_after=lambda epochs: 4 * epochs))


def test_columns_stand_in_the_order_of_the_training_named_by_step_or_by_epoch(tmp_path):
    first = tmp_path / "kyla_000000_00_1.png"
    save(first, random_rgb((8, 8)))
    for label in ("000006", "e000001", "e000002"):
        os.link(first, tmp_path / f"kyla_{label}_00_1.png")
    assert "<th>base model</th><th>epoch 1</th><th>step 6</th><th>epoch 2</th>" in grid(tmp_path)


def test_a_thousand_previews_are_a_page_of_a_few_megabytes(tmp_path):
    # Noise is the worst case: it shrinks ten times less than a photo.
    first = tmp_path / "kyla_000000_00_1.png"
    save(first, random_rgb((256, 256)))
    for step in range(1, 1000):
        os.link(first, tmp_path / f"kyla_{step:06d}_00_1.png")
    text = grid(tmp_path)
    assert "of 1000 drawings, evenly spaced" in text
    assert "base model" in text
    assert "step 999" in text
    assert 300 < text.count("<img ") < 1000
    noise = len(text) / text.count("<img ")
    assert noise < 40_000
    assert text.count("<img ") * 192**2 <= 24_000_000


def test_the_pictures_of_many_prompts_are_bounded_and_the_others_are_links(tmp_path, monkeypatch):
    monkeypatch.setattr(previews_of_page, "_MOST_COPIES", 5)
    first = tmp_path / "kyla_000000_00_1.png"
    save(first, random_rgb((64, 64)))
    for number in range(1, 6):
        for step in (0, 9):
            os.link(first, tmp_path / f"kyla_{step:06d}_{number:02d}_1.png")
    text = grid(tmp_path, [f"prompt {number}" for number in range(6)])
    assert text.count("<img ") == 5
    assert text.count("<a href=") == 11
    assert "5 of 11 previews" in text
    assert '<a href="sample/kyla_000009_05_1.png">kyla_000009_05_1.png</a>' in text


def test_the_copies_of_a_page_are_all_kept():
    assert previews_of_page._copy.cache_info().maxsize >= previews_of_page._MOST_COPIES


def test_few_previews_are_copied_larger_than_many(tmp_path):
    save(tmp_path / "kyla_000000_00_1.png", random_rgb((600, 300)))
    few = grid(tmp_path)
    for step in range(1, 200):
        os.link(tmp_path / "kyla_000000_00_1.png", tmp_path / f"kyla_{step:06d}_00_1.png")
    assert len(few) > 1.5 * len(grid(tmp_path)) / 200


def test_the_middle_frame_stands_for_a_clip(tmp_path):
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    write_mp4(tmp_path / "kyla_000002_00_1.mp4", frames, fps=8)
    text = grid(tmp_path)
    assert '<a href="sample/kyla_000002_00_1.mp4"><img src="data:image/webp;base64,' in text
    assert "middle frame of a clip" in text


def test_a_damaged_preview_costs_its_place_alone(tmp_path):
    (tmp_path / "kyla_000000_00_1.png").write_bytes(b"no picture")
    save(tmp_path / "kyla_000002_00_1.png", random_rgb((64, 64)))
    text = grid(tmp_path)
    assert "kyla_000000_00_1.png</a> cannot be read" in text
    assert text.count("<img ") == 1


def test_a_prompt_is_text_and_nothing_else(tmp_path):
    save(tmp_path / "kyla_000000_00_1.png", random_rgb((64, 64)))
    text = grid(tmp_path, ['"><script>alert(1)</script>'])
    assert "<script" not in text


@pytest.fixture
def ranked(tmp_path):
    """A page with room for results, two LoRA files, and their ranking."""
    names = output_names(tmp_path, "kyla", all_experts=1, trained=[""], shared=False)
    names.page.write_text("<h1>kyla</h1>\n<!--rankings-->\n<!--/rankings-->\n<p>end</p>")
    for step in (1, 2):
        (tmp_path / f"kyla-step{step:08d}.safetensors").write_bytes(b"")
    rows = [{"name": f"kyla-step{step:08d}", "likeness/subject": 0.5 + step / 8, "place_kept": None} for step in (2, 1)]
    names.ranking.mkdir(parents=True)
    results = names.ranking / "ranking.json"
    results.write_text(json.dumps({"ranking": rows, "base": {"name": "base", "val/loss/face": 0.25}}))
    return names


def test_a_ranking_is_put_into_the_page_and_its_order_kept(ranked):
    renew_rankings(ranked)
    renew_rankings(ranked)
    text = ranked.page.read_text()
    assert text.count("Ranking of the LoRA files") == 1
    assert text.index("kyla-step00000002") < text.index("kyla-step00000001") < text.index("<td>base</td>")
    assert "<td class=figure>0.75</td>" in text
    assert "<td class=figure>0.250</td>" in text
    assert "place kept" not in text, "nothing stands in that column"
    assert text.startswith("<h1>kyla</h1>")
    assert text.endswith("<p>end</p>")


def test_results_of_lora_files_that_were_written_anew_are_not_shown(ranked):
    results = ranked.ranking / "ranking.json"
    later = results.stat().st_mtime + 1
    os.utime(ranked.folder / "kyla-step00000001.safetensors", (later, later))
    renew_rankings(ranked)
    assert "Ranking" not in ranked.page.read_text()


def test_trainings_of_one_output_folder_have_rankings_of_their_own(ranked):
    other = output_names(ranked.folder, "anne", all_experts=1, trained=[""], shared=False)
    other.page.write_text("<!--rankings-->\n<!--/rankings-->")
    (other.folder / "anne.safetensors").write_bytes(b"")
    other.ranking.mkdir(parents=True)
    (other.ranking / "ranking.json").write_text(loras("anne"))
    for names in (ranked, other):
        renew_rankings(names)
    assert "kyla-step00000002" in ranked.page.read_text()
    assert "anne" not in ranked.page.read_text()
    assert '<a href="ranking/anne/ranking.png"><code>ranking/anne/ranking.png</code></a>' in other.page.read_text()


def loras(*names):
    return json.dumps({"ranking": [{"name": name, "place_kept": 0.5} for name in names]})


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"ranking": []}',
        '{"ranking": null}',
        '{"ranking": [{"name": "kyla-step00000001", "place_kept": {}}]}',
        '{"ranking": ' + "[" * 100_000,
        loras("other"),
        loras("kyla2", "kyla2-step00000001"),
        loras("kyla-step00000001", "kyla2"),
        loras("kyla-step00000001", "../kyla"),
    ],
    ids=lambda content: content[:60],
)
def test_results_of_others_are_not_shown(ranked, content):
    for name in ("kyla2", "kyla2-step00000001"):
        (ranked.folder / f"{name}.safetensors").write_bytes(b"")
    (ranked.ranking / "ranking.json").write_text(content)
    assert renew_rankings(ranked) is None
    assert "Ranking" not in ranked.page.read_text()


@pytest.mark.parametrize(("value", "shown"), [("9" * 400, "inf"), ("NaN", "nan")])
def test_numbers_that_are_none_are_shown_as_such(ranked, value, shown):
    results = ranked.ranking / "ranking.json"
    results.write_text(f'{{"ranking": [{{"name": "kyla-step00000001", "place_kept": {value}}}]}}')
    assert renew_rankings(ranked) is None
    assert f"<td>{shown}</td>" in ranked.page.read_text()


def test_the_expert_that_is_trained_alone_has_no_column_beside_the_whole(ranked):
    row = {"name": "kyla-step00000001", "val/loss": 0.5, "val/loss/low": 0.5, "val/loss/face": 0.25}
    (ranked.ranking / "ranking.json").write_text(json.dumps({"ranking": [row]}))
    renew_rankings(ranked)
    text = ranked.page.read_text()
    assert "<th colspan=2>held-out loss</th>" in text
    assert "low noise" not in text
    (ranked.ranking / "ranking.json").write_text(json.dumps({"ranking": [{**row, "val/loss/high": 0.75}]}))
    renew_rankings(ranked)
    assert "<th colspan=4>held-out loss</th>" in ranked.page.read_text()


def items_of(lora, **changes):
    item = {"item": "a", "loss": {"loss": 0.5}, "base": {"loss": 0.75}, "remarks": ["odd"], **changes}
    return json.dumps({"lora": lora, "items": [item]})


def test_unusual_items_are_put_into_the_page(ranked):
    (ranked.ranking / "items.json").write_text(items_of("kyla-step00000001"))
    renew_rankings(ranked)
    figures = "<td class=figure>0.500</td><td class=figure>0.750</td><td class=figure>33%</td><td></td>"
    assert f"<td>a</td>{figures}<td>odd</td>" in ranked.page.read_text()


@pytest.mark.parametrize(
    "content",
    [
        items_of("kyla-step00000001", loss=None),
        items_of("kyla-step00000001", remarks=None),
        items_of("kyla-step00000001", remarks=[1]),
        items_of("kyla-step00000001", base=[0.5]),
        items_of("kyla2"),
        '{"lora": "kyla-step00000001", "items": ["a"]}',
    ],
)
def test_items_of_others_are_not_shown(ranked, content):
    (ranked.folder / "kyla2.safetensors").write_bytes(b"")
    (ranked.ranking / "items.json").write_text(content)
    assert renew_rankings(ranked) is None
    assert "Items" not in ranked.page.read_text()


def test_a_page_that_is_no_text_is_left_and_told(ranked):
    found = ranked.page.read_bytes() + "Übung".encode("latin-1")
    ranked.page.write_bytes(found)
    problem = renew_rankings(ranked)
    assert str(ranked.page) in problem.what
    assert ranked.page.read_bytes() == found


def test_a_page_that_cannot_be_written_is_told(ranked, monkeypatch):
    def full(path, text):
        raise MachineError("no space left", where=[path], fix="free some space")

    monkeypatch.setattr(atomic, "write_text", full)
    assert renew_rankings(ranked).fix == "free some space"


def test_without_a_page_there_is_nothing_to_renew(ranked):
    ranked.page.unlink()
    renew_rankings(ranked)
    assert not ranked.page.exists()
