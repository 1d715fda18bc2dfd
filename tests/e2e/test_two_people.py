"""Two people in one LoRA, from photos to the ranking: one run in miniature of the starter, with zoom, preservation and EMA.

The second person is the negative of a photo of the first: the face network finds a clear face in it and takes it for
somebody else's (distance 0.75; 0.55 is the border).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_headers import list_headers
from blissmask.config.load import load_config
from blissmask.families.registry import load_family
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey
from blissmask.people.faces import embedded
from blissmask.people.faces.embedded import EmbeddedFaces
from blissmask.training.record.metrics import read_log
from tests.builders.command import Ran, run_here
from tests.builders.example_configs import miniature
from tests.builders.face_reader import FacesInNoise
from tests.builders.pictures import save

pytestmark = pytest.mark.slow

PHOTO = Path(__file__).parents[1] / "photos" / "astronaut.png"

TOGETHER = """
[[datasets]]
subject = ["kyla", "tom"]
caption = "{kyla} and {tom}"
image_directory = "photos"
mask_directory = "subject_masks"
cache_directory = "cache/together"
"""
"""The same photos once more, each with the masks of both."""
OPTIONS = "--trigger-free-weight 1 --ema-decay 0.5 --save-every-n-steps 2 --sample-every-n-steps 2"


@dataclass(frozen=True)
class Run:
    """The folder of the run, and what training and ranking printed."""

    folder: Path
    trained: Ran
    ranked: Ran

    @property
    def page(self):
        return self.written("kyla-and-tom*.html").read_text(encoding="utf-8")

    @property
    def log(self):
        return read_log(self.written("*-log.jsonl"))

    def written(self, pattern):
        """Return the one file of the training whose name fits; an expert stands in the names."""
        (path,) = (self.folder / "out").glob(pattern)
        return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    kyla = read_image(PHOTO).rgb_HW3[:420]
    tom = 255 - kyla
    save(folder / "kyla.jpg", kyla)
    save(folder / "tom.jpg", tom)
    for name, rgb_HW3 in {"kyla": kyla, "tom": tom, "both": np.concatenate([kyla, tom], axis=1)}.items():
        save(folder / "photos" / f"{name}.png", rgb_HW3)
    text = miniature("two-people.toml", previews=True)
    # Pictures of one step each, as small as they are trained.
    text = re.sub(r'^(    "[^"]*)",', r'\1 --s 1 --f 1",', text, flags=re.MULTILINE)
    text = text.replace("[masks]\n", f"{TOGETHER}\n[masks]\n")
    (folder / "blissmask.toml").write_text(text.replace("[general]\n", '[general]\nzoom = ["face"]\n'))
    reader = FacesInNoise(EmbeddedFaces())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "face_reader", lambda options: reader)
        for line in ("blissmask masks --sheet sheet.html", "blissmask instance"):
            prepared = run_here(line, folder)
            assert prepared.code == 0, f"{line}: {prepared.err}"
        trained = run_here(f"blissmask train --prepare {OPTIONS}", folder)
        assert trained.code == 0, trained.err
        ranked = run_here(f"blissmask train --rank-loras {OPTIONS}", folder)
        assert ranked.code == 0, ranked.err
    return Run(folder, trained, ranked)


def test_a_photo_of_both_has_a_mask_of_each(run):
    width = read_grey(run.folder / "subject_masks" / "kyla" / "both.png").shape[1]
    for name, own in (("kyla", slice(0, width // 2)), ("tom", slice(width // 2, None))):
        mask_HW = read_grey(run.folder / "subject_masks" / name / "both.png")
        assert mask_HW[:, own].sum() > 0.9 * mask_HW.sum() > 0


def test_a_photo_of_both_is_one_item_with_the_regions_of_each(run):
    """One whom the face network did not find in a photo has no regions in it."""
    config = load_config(run.folder / "blissmask.toml", {})
    suffix = load_family(config.model.arch).cache_suffix
    found = {header.stem: load_entry(header) for header in list_headers(run.folder / "cache" / "together", suffix)}
    own = {name: found[name].subjects_Qfhw.split(4) for name in ("kyla", "tom", "both")}
    shown = {name: [bool(shares.any()) for shares in sets] for name, sets in own.items()}
    assert shown == {"kyla": [True, False], "tom": [False, True], "both": [True, True]}
    kyla, tom = own["both"]
    # Outside the background of the mask of both is who is outside the background of the own one; they stand apart.
    assert not ((1 - kyla[3]) * (1 - tom[3])).any()
    together = 1 - kyla[3] + 1 - tom[3]
    # The weights of the cells in which somebody is, and no others.
    assert torch.equal(found["both"].weights_1fhw[0] > 0, together > 0)
    assert re.search("may show several of them: .*kyla and tom [12]", run.trained.err)


def test_the_banner_and_the_page_tell_the_share_of_each(run):
    shares = re.findall(r"^ (kyla|tom): \d+ entries, ([\d.]+)% of the weight", run.trained.err, re.MULTILINE)
    assert [name for name, _ in shares] == ["kyla", "tom"]
    assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=0.2)
    for name, share in shares:
        assert re.search(rf"<td>{name}</td>.*{re.escape(share)}%", run.page)


def test_previews_are_scored_for_each_subject_and_against_each_other(run):
    last = [line for line in run.log if "likeness/subject" in line][-1]
    for name in ("subject/kyla", "subject/tom", "between/kyla/in/tom", "between/tom/in/kyla", "others/kyla"):
        assert 0 < last[f"likeness/{name}"] < 1
    for column in ("kyla", "tom", "kyla in other people", "kyla in tom", "tom in kyla"):
        # Of the checkpoints, and of the ranking.
        assert run.page.count(f"<th>{column}</th>") == 2
    assert "likeness to kyla is measured against 1 face" in run.trained.err
    lines = run.written("*-likeness.jsonl").read_text().splitlines()
    asked = [picture["asked"] for picture in json.loads(lines[-1])["pictures"]]
    assert asked == [["kyla"], ["tom"], ["kyla", "tom"], []]


def test_the_ranking_is_of_every_file_and_stands_in_the_page(run):
    found = json.loads((run.written("ranking/*/ranking.json")).read_text())
    names = {line["name"] for line in found["ranking"]}
    assert names == {path.stem for path in (run.folder / "out").glob("*.safetensors")}
    assert any(name.endswith("-ema") for name in names)
    assert all(line["likeness/between/tom/in/kyla"] > 0 for line in found["ranking"])
    assert "tom in kyla" in run.ranked.out
    assert "Ranking of the LoRA files" in run.page


def test_the_page_has_the_loss_of_each_item_as_it_was_drawn(run):
    section = run.page.partition("Items in training")[2].partition("</section>")[0]
    drawn = re.findall(r"<td>([^<]+)</td><td class=figure>(\d+)</td><td class=figure>([\d.]+)</td>", section)
    assert sum(int(count) for _, count, _ in drawn) == run.log[-1]["step"]
    # The same photos are in all data sets.
    assert all(re.fullmatch(r"(kyla|tom|together)/(kyla|tom|both)(-face)?", name) for name, _, _ in drawn)


def test_the_page_shows_what_was_asked_for(run):
    """The photo of both, large enough for a zoom of each, stands in both data sets; the averages and what is held."""
    rows = dict(re.findall(r"<tr><td>([^<]+)</td>(.*)</tr>", run.page.partition("<h2>Data sets</h2>")[2]))
    facts = {name: re.findall(r"<td[^>]*>([^<]*)</td>", cells) for name, cells in rows.items()}
    zoomed = [trigger for count, trigger in zip(facts["zooms among them"], facts["trigger"], strict=True) if int(count)]
    assert zoomed == ["ohwx", "sks", "ohwx, sks"]
    assert re.search("Running average of the weights: <code>[^<]+-ema.safetensors</code>", run.page)
    for held in ("outside the mask", "with the class word"):
        assert held in run.page


def test_zooms_are_items_of_the_one_who_is_in_them(run):
    folders = [section.cache_directory for section in load_config(run.folder / "blissmask.toml", {}).datasets]
    for folder in folders:
        assert list((run.folder / folder).glob("*-face_*.safetensors"))


def test_what_holds_other_people_is_paid_for_and_logged(run):
    assert run.log[0]["trigger_free/items"] == 1
    assert "times the operations of a step without preservation" in " ".join(run.trained.err.split())
