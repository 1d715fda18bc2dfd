"""Which LoRA comes first, what the table shows, and what is left of a place."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from blissmask.config.model import Config
from blissmask.errors import InputError, UsageError
from blissmask.people.subject_likeness import LikenessSummary, SubjectsSummary
from blissmask.tasks.rank_loras.place import place_kept
from blissmask.tasks.rank_loras.plan import candidates_of
from blissmask.tasks.rank_loras.result import Result, faceless_warnings, line_of, ranked, ranking_tables
from blissmask.tasks.rank_loras.sheet import check_sheet, draw_sheet
from blissmask.tasks.ranking.candidates import Candidate, saved_loras
from blissmask.training.record.saving import Outputs
from tests.builders.pictures import random_rgb, save


def summary_of(subject, others=None):
    return LikenessSummary(
        pictures=4, faces=3, unclear=0, subject=subject, spread=0.1, width=0.2, others=others, others_pictures=1
    )


def result(name, subject=None, *, others=None, loss=None, place=None):
    likeness = None
    if subject is not None:
        likeness = SubjectsSummary(summary_of(subject, others), {"subject": summary_of(subject, others)}, {})
    return Result(name, (), likeness, place, {} if loss is None else {"val/loss": 9.0, "val/loss/face": loss})


def test_the_most_alike_comes_first_and_the_loss_decides_between_equals():
    order = ranked([result("low", 0.4, loss=0.1), result("worse", 0.6, loss=0.3), result("best", 0.6, loss=0.2)])
    assert [each.name for each in order] == ["best", "worse", "low"]


def test_without_likeness_the_least_held_out_loss_in_the_face_comes_first():
    assert [each.name for each in ranked([result("b", loss=0.3), result("a", loss=0.2)])] == ["a", "b"]


def test_columns_that_nothing_stands_in_are_left_out():
    (table,) = ranking_tables([result("kyla", 0.61, place=0.8)], result("base", 0.2))
    assert table.columns == ("", "LoRA", "Likeness", "Spread", "Faces", "Place kept")
    assert table.rows == (("1", "kyla", "0.61", "0.10", "3 of 4", "0.80"), ("", "base", "0.20", "0.10", "3 of 4", "-"))


def test_an_order_without_a_face_in_any_picture_is_said_to_mean_nothing():
    whole = dataclasses.replace(summary_of(0.0), faces=0)
    unseen = Result("unseen", (), SubjectsSummary(whole, {"subject": whole}, {}), None, {})
    (told,) = faceless_warnings([unseen, unseen])
    assert told.what == "no face was found in any picture: the order means nothing"
    (told,) = faceless_warnings([dataclasses.replace(unseen, held_out={"val/loss": 0.1})])
    assert told.what.endswith("the order is that of the held-out loss alone")
    assert not faceless_warnings([unseen, result("seen", 0.4)])
    assert not faceless_warnings([result("unmeasured", loss=0.1)])


def test_two_subjects_have_a_table_of_their_own_with_what_one_has_of_the_other():
    subjects = {"kyla": summary_of(0.7), "tom": summary_of(0.5)}
    of_both = SubjectsSummary(summary_of(0.6), subjects, {("kyla", "tom"): 0.31})
    both = Result("both", (), of_both, None, {})
    whole, each = ranking_tables([both], Result("base", (), of_both, None, {}))
    assert whole.columns == ("", "LoRA", "Likeness", "Spread", "Faces")
    assert each.columns == ("", "LoRA", "kyla", "tom", "kyla in tom")
    assert each.rows[0] == ("1", "both", "0.70", "0.50", "0.31")
    assert line_of(both).endswith("kyla 0.70 · tom 0.50 · kyla in tom 0.31")


def test_a_line_names_its_numbers():
    assert (
        line_of(result("kyla", 0.61, others=0.25)) == "likeness 0.61 · spread 0.10 · faces 3 of 4 · other people 0.25"
    )


def test_saved_loras_are_in_the_order_of_the_training_and_averages_behind(tmp_path):
    for name in ("kyla-step00000200", "kyla-step00000100", "kyla", "kyla-ema", "kyla-two", "kyla-ema-step00000100"):
        (tmp_path / f"{name}.safetensors").touch()
    found = saved_loras(Outputs(tmp_path, "kyla", ("kyla",)))
    assert [each.name for each in found] == [
        "kyla-step00000100",
        "kyla-step00000200",
        "kyla",
        "kyla-ema-step00000100",
        "kyla-ema",
    ]


def test_copies_and_other_trainings_are_no_earlier_files_of_this_one(tmp_path):
    of_this = ("kyla+1-step00000200", "kyla+1-step00000100")
    others = ("kyla+1-step00000100 (copy)", "kyla+1-step1", "kyla+1-ema-step00000100", "kyla+1", "kyla+12-step00000100")
    for name in (*of_this, *others):
        (tmp_path / f"{name}.safetensors").touch()
    found = Outputs(tmp_path, "kyla+1", ("kyla+1",)).earlier_files()
    assert [(step, path.stem) for step, path in found] == [(100, of_this[1]), (200, of_this[0])]


def test_a_pair_of_experts_is_one_candidate_and_half_a_pair_is_none(tmp_path):
    for name in ("kyla-high", "kyla-low", "kyla-high-step00000100"):
        (tmp_path / f"{name}.safetensors").touch()
    (found,) = saved_loras(Outputs(tmp_path, "kyla", ("kyla-high", "kyla-low")))
    assert [path.name for path in found.files] == ["kyla-high.safetensors", "kyla-low.safetensors"]


def test_a_configuration_that_is_put_beside_a_file_of_peft_makes_it_another_lora(tmp_path):
    """Whoever does what the warning says gets new pictures."""
    path = tmp_path / "adapter_model.safetensors"
    save_file({"base_model.model.q.lora_A.weight": torch.ones(2, 2)}, path)
    before = Candidate("kyla", (path,)).content()
    path.with_name("adapter_config.json").write_text('{"lora_alpha": 1}')
    after = Candidate("kyla", (path,)).content()
    assert (len(before), after[:1], len(after)) == (1, before, 2)


class TestPlace:
    rgb_HW3 = random_rgb((64, 64), seed=1)
    somebody_HW = np.zeros((64, 64), bool)
    somebody_HW[:, 16:48] = True

    def kept(self, drawn_HW3, base_HW3, nobody_HW=None):
        nobody_HW = ~self.somebody_HW if nobody_HW is None else nobody_HW
        return place_kept(drawn_HW3, base_HW3, nobody_HW, np.ones((64, 64), bool))

    def test_the_same_background_behind_another_person_is_kept(self):
        other = np.where(self.somebody_HW[..., None], 255, self.rgb_HW3).astype(np.uint8)
        assert self.kept(other, self.rgb_HW3) == pytest.approx(1.0)

    def test_another_background_is_not(self):
        assert self.kept(self.rgb_HW3, random_rgb((64, 64), seed=2)) < 0.2
        assert self.kept(255 - self.rgb_HW3, self.rgb_HW3) == 0.0

    def test_a_portrait_and_a_single_colour_show_no_place(self):
        assert self.kept(self.rgb_HW3, self.rgb_HW3, np.zeros((64, 64), bool)) is None
        assert self.kept(np.zeros_like(self.rgb_HW3), self.rgb_HW3) is None


def ranking_of(folder, *files):
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    config = Config.model_validate({"ranking": {"rank_file": files}})
    return candidates_of(config, Outputs(folder, "kyla", ("kyla",)))


def test_a_file_that_is_named_twice_is_ranked_once(tmp_path):
    first, second, link = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "link"))
    first.touch()
    link.symlink_to(first)
    found = ranking_of(tmp_path, first, second, first, link)
    assert [candidate.files for candidate in found] == [(first,), (second,)]


def test_of_two_files_with_one_name_those_alone_are_named(tmp_path):
    alone, here, there = (tmp_path / place for place in ("a.safetensors", "1/b.safetensors", "2/b.safetensors"))
    with pytest.raises(UsageError) as caught:
        ranking_of(tmp_path, alone, here, there, there)
    [problem] = caught.value.problems
    assert problem.where == (str(here), str(there))


def test_a_pipe_in_the_place_of_the_sheet_is_refused_with_a_way_out(tmp_path):
    os.mkfifo(tmp_path / "ranking.png")
    with pytest.raises(InputError) as caught:
        check_sheet(tmp_path / "ranking.png")
    [problem] = caught.value.problems
    assert problem.what == "a pipe that is not ours stands where the ranking would go"
    assert problem.fix == "remove or rename it, or name another `--output-dir`"
    check_sheet(Path(tmp_path / "nothing.png"))


def test_cells_of_the_sheet_fit_their_pictures_and_prompts_are_whole(tmp_path):
    save(tmp_path / "wide.png", np.zeros((64, 160, 3), np.uint8))
    save(tmp_path / "tall.png", np.zeros((160, 64, 3), np.uint8))
    save(tmp_path / "large.png", np.zeros((1024, 1024, 3), np.uint8))
    pictures = [tmp_path / name for name in ("wide.png", "tall.png", "large.png")]

    def size(columns, prompts):
        rows = [dataclasses.replace(result(name), pictures=tuple(columns)) for name in ("kyla", "base")]
        return draw_sheet(rows, prompts).shape[:2]

    wide, tall, large = (size([picture] * 5, ["kyla"] * 5) for picture in pictures)
    # Four gaps of 8, and margins; words have 128 pixels where a picture is narrower.
    assert (wide[1], tall[1], large[1]) == (5 * 160 + 72, 5 * 128 + 72, 5 * 256 + 72)
    assert (tall[0] - wide[0], large[0] - wide[0]) == (2 * (160 - 64), 2 * (256 - 64))
    assert size([pictures[0], None], ["kyla", "kyla"])[0] == wide[0]
    assert size([pictures[0]] * 5, ["kyla at the sea, at night, in the rain"] * 5)[0] > wide[0]
