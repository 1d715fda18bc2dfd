"""Previews are measured against the subject, and the training does not notice."""

import json

import pytest
import torch

from blissmask.config.model import Config
from blissmask.errors import StoppedError, UsageError
from blissmask.events import Noted, Warned
from blissmask.people.faces import embedded
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.previews.measure import open_meter
from blissmask.training.record.metrics import read_log
from tests.builders.face_reader import FacesEverywhere, painted
from tests.builders.pictures import save
from tests.builders.recorder import Recorder
from tests.builders.training import run, tensors_of, train_config, write_masked_set

KYLA = (255, 0)


@pytest.fixture
def reader(monkeypatch):
    made = FacesEverywhere()
    monkeypatch.setattr(embedded, "face_reader", lambda options: made)
    return made


@pytest.fixture
def cache(tmp_path):
    return write_masked_set(tmp_path / "cache", count=2)


@pytest.fixture
def options(tmp_path):
    (tmp_path / "prompts.txt").write_text("kyla at the sea --s 1 --f 1\na woman --s 1 --f 1\n", encoding="utf-8")
    save(tmp_path / "reference.png", painted(KYLA))
    return {
        "sample_prompts": tmp_path / "prompts.txt",
        "sample_every_n_steps": 2,
        "max_train_steps": 4,
        "likeness_reference": [tmp_path / "reference.png"],
        "likeness_trigger": "Kyla",
    }


def kept(folder):
    return [json.loads(line) for line in (folder / "kyla-likeness.jsonl").read_text().splitlines()]


def test_every_drawing_is_measured_logged_and_kept(cache, tmp_path, options, reader):
    out = tmp_path / "out"
    _, recorder = run(train_config(cache, out, **options))
    lines = kept(out)
    assert [line["step"] for line in lines] == [2, 4]
    asked, unasked = lines[0]["pictures"]
    assert asked["file"] == "sample/kyla_000002_00_42.png"
    assert (asked["asked"], unasked["asked"]) == (["subject"], [])
    (face,) = asked["frames"][0]
    assert face["likeness"]["subject"] == pytest.approx(max(0, 1 - face["distance"]["subject"]), abs=2e-3)
    logged = [line for line in read_log(out / "kyla-log.jsonl") if "likeness/subject" in line]
    assert [line["step"] for line in logged] == [2, 4]
    assert logged[0]["likeness/subject"] == pytest.approx(lines[0]["summary"]["subject"], abs=1e-6)
    assert logged[0]["likeness/others"] == pytest.approx(lines[0]["summary"]["others"], abs=1e-6)
    assert [text for text in said(recorder) if text.startswith("likeness after step 4")]


def test_training_is_the_same_to_the_bit_without_it(cache, tmp_path, options, reader):
    run(train_config(cache, tmp_path / "measured", **options))
    run(train_config(cache, tmp_path / "plain", **{**options, "likeness_reference": [], "likeness": "off"}))
    measured, plain = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("measured", "plain"))
    assert all(torch.equal(tensor, plain[key]) for key, tensor in measured.items())
    assert not (tmp_path / "plain" / "kyla-likeness.jsonl").exists()


def test_a_training_that_goes_on_measures_each_step_once(cache, tmp_path, options, reader):
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **{**options, "save_every_n_steps": 2}), stop_after=3)
    run(train_config(cache, tmp_path / "parts", **options))
    for name in ("kyla-likeness.jsonl", "kyla-log.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_references_without_one_clear_face_are_named_and_nothing_is_measured(cache, tmp_path, options, reader):
    save(tmp_path / "reference.png", painted(KYLA, KYLA))
    _, recorder = run(train_config(cache, tmp_path / "out", **options))
    (problem,) = [event.problem for event in recorder.of(Warned) if "clear face" in event.problem.what]
    assert str(tmp_path / "reference.png") in problem.where[0]
    assert not (tmp_path / "out" / "kyla-likeness.jsonl").exists()


def test_the_photos_of_the_data_set_can_be_the_references(cache, tmp_path, options, reader):
    save(tmp_path / "photos" / "alone.png", painted(KYLA))
    save(tmp_path / "photos" / "group.png", painted(KYLA, (0, 0)))
    options = {**options, "likeness_reference": [], "likeness": "photos"}
    datasets = [{"cache_directory": cache, "image_directory": tmp_path / "photos"}]
    _, recorder = run(train_config(cache, tmp_path / "out", datasets=datasets, **options))
    assert [text for text in said(recorder) if text.startswith("likeness is measured against 1 face")]
    assert not [event for event in recorder.of(Warned) if "clear face" in event.problem.what]


def test_small_faces_are_told_once(cache, tmp_path, options, reader):
    reader.drawn_width = 20.0
    _, recorder = run(train_config(cache, tmp_path / "out", **options))
    assert sum("too small" in event.problem.what for event in recorder.of(Warned)) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample_prompts": None, "sample_every_n_steps": None}, "`likeness_reference` needs prompts"),
        ({"likeness": "photos"}, "uses no reference"),
        ({"likeness": "photos", "likeness_reference": []}, "there are none"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_the_plan(cache, tmp_path, options, changes, said):
    with pytest.raises(UsageError, match=said):
        plan_training(train_config(cache, tmp_path / "out", **{**options, **changes}))


def of_subjects(cache, out, options, photos, **more):
    """Return the configuration of a training of several subjects, each with a photo."""
    common = {name: value for name, value in options.items() if not name.startswith("likeness")}
    subjects = [{"name": name, "trigger": name, "references": [photo]} for name, photo in photos.items()]
    given = train_config(cache, out, **common, **more).model_dump(exclude_unset=True)
    return Config.model_validate(given | {"subjects": subjects})


def test_missing_photos_of_subjects_cost_no_training_and_are_named(cache, tmp_path, options, reader):
    gone = tmp_path / "gone.png"
    photos = {"kyla": tmp_path / "reference.png", "tom": gone}
    planned = plan_training(of_subjects(cache, tmp_path / "out", options, photos))
    assert planned.likeness is None
    (problem,) = [problem for problem in planned.warnings if "likeness" in problem.what]
    assert "`tom`" in problem.what
    assert problem.where == (str(gone),)
    assert "`tom`" in problem.fix
    with pytest.raises(UsageError, match="no such photo or folder"):
        plan_training(of_subjects(cache, tmp_path / "out", options, photos, likeness_reference=[gone]))


def test_a_missing_reference_of_the_masks_costs_no_training_and_one_for_likeness_does(cache, tmp_path, options, reader):
    gone = tmp_path / "gone.png"
    common = {name: value for name, value in options.items() if not name.startswith("likeness")}
    given = train_config(cache, tmp_path / "out", **common).model_dump(exclude_unset=True)
    config = Config.model_validate(given | {"instance": {"reference": [gone]}})
    planned = plan_training(config)
    (problem,) = planned.unmeasured
    assert problem.what.startswith("the likeness of previews is not measured: `reference`: ")
    assert problem.where == (str(gone),)
    summary, _ = run(config)
    assert ("likeness of previews", "not measured: photos of the subject are missing") in summary.tables[-1].rows
    with pytest.raises(UsageError, match="no such photo or folder"):
        plan_training(train_config(cache, tmp_path / "out", **{**options, "likeness_reference": [gone]}))


def test_one_trigger_for_several_subjects_is_refused(cache, tmp_path, options, reader):
    photos = {"kyla": tmp_path / "reference.png"}
    with pytest.raises(UsageError, match="has its own `trigger`"):
        plan_training(of_subjects(cache, tmp_path / "out", options, photos, likeness_trigger="kyla"))


def test_the_subject_without_a_clear_face_is_named(cache, tmp_path, options, reader):
    save(tmp_path / "group.png", painted(KYLA, KYLA))
    photos = {"kyla": tmp_path / "reference.png", "tom": tmp_path / "group.png"}
    planned, recorder = plan_training(of_subjects(cache, tmp_path / "out", options, photos)), Recorder()
    assert open_meter(planned.likeness, RunContext(reporter=recorder)) is None
    (problem,) = [event.problem for event in recorder.of(Warned)]
    assert "`tom` has no other" in problem.what
    assert "kyla" not in problem.what


def said(recorder):
    return [event.text for event in recorder.of(Noted)]
