"""`cache --captions transformers` on a Llava in miniature: which files it writes, and which folders it refuses."""

import importlib.util
import json

import numpy as np
import pytest
from jinja2 import TemplateError

from blissmask.errors import InputError, ModelError, UsageError
from blissmask.networks.caption_model import CaptionModel, _load_processor, _on_one_line
from blissmask.tasks.captions.plan import CaptionForm, plan
from blissmask.tasks.captions.run import in_form, run
from blissmask.tasks.run.plan import Action, RunContext
from tests.builders.cache import PHOTO_WH, config
from tests.builders.caption_models import write_blip, write_caption_model
from tests.builders.pictures import photo_folder, random_rgb, save, tree


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_caption_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    (tmp_path / "photos" / "a.txt").write_text("mine", encoding="utf-8")
    return tmp_path


def asked(folder, model, *, cache=None, **dataset):
    return config(folder, cache={"captions": "transformers", "caption_model": model, **(cache or {})}, **dataset)


def described(folder, model, **settings):
    return run(plan(asked(folder, model, **settings)), RunContext(jobs=2))


def test_captions_that_are_missing_are_written_and_others_stay_as_they_are(photos, model):
    summary = described(photos, model, trigger="ohwx")
    assert (summary.written, summary.skipped, summary.failures) == (1, 1, [])
    assert (photos / "photos" / "a.txt").read_text() == "mine"
    text = (photos / "photos" / "b.txt").read_text()
    assert text.startswith("{trigger}, ")
    assert summary.tables[-1].rows == (("b.png", text.strip()),)
    before = tree(photos / "photos")
    assert described(photos, model, trigger="ohwx").written == 0
    assert tree(photos / "photos") == before


def test_captions_go_where_the_data_set_looks_for_them_in_its_style(photos, model):
    (photos / "captions").mkdir()
    places = {"caption_directory": photos / "captions", "caption_extension": ".json", "caption_style": "json"}
    assert described(photos, model, **places).written == 2
    assert json.loads((photos / "captions" / "a.json").read_text())["caption"]


def test_a_plan_loads_no_model_and_counts(photos, model, monkeypatch):
    monkeypatch.setattr("blissmask.networks.caption_model.load_transformer", None)
    found = plan(asked(photos, model))
    assert [(item.action, item.reason) for item in found.items] == [
        (Action.SKIP, "has a caption"),
        (Action.WRITE, "no caption"),
    ]


def test_the_model_sees_the_photo_and_answers_alike_each_time(model):
    captions = CaptionModel(model, device="cpu")
    first = random_rgb((64, 48), seed=1)
    white = np.full_like(first, 255)
    said = captions.describe(first, "Describe it.")
    assert said == captions.describe(first, "Describe it.")
    assert said not in (captions.describe(white, "Describe it."), captions.describe(first, "What?"))
    assert set(said) <= set("abcdefgh")


@pytest.mark.parametrize(
    ("answer", "trigger", "written"),
    [
        ("a red coat on a bridge", "ohwx", "{trigger}, a red coat on a bridge"),
        ("ohwx in a red coat", "ohwx", "{trigger} in a red coat"),
        ("{trigger} in a red coat", "ohwx", "{trigger} in a red coat"),
        ("a red coat", "", "a red coat"),
    ],
)
def test_the_trigger_is_a_placeholder(answer, trigger, written):
    assert in_form(answer, CaptionForm("?", trigger, "text")) == written


def test_a_question_with_a_placeholder_that_has_no_word_is_refused(photos, model):
    with pytest.raises(UsageError, match=r"`caption_prompt` holds \{class_word\}"):
        plan(asked(photos, model, trigger="ohwx", cache={"caption_prompt": "What does the {class_word} wear?"}))


def test_photos_of_other_people_have_no_trigger(photos, model):
    found = plan(asked(photos, model, trigger="ohwx", prior=True, cache={"caption_prompt": "Who is {trigger}?"}))
    assert set(found.forms.values()) == {CaptionForm("Who is ohwx?", "", "text")}


def test_answers_are_one_line_and_end_with_a_whole_sentence():
    assert _on_one_line('"A bridge\nat  night."', cut_off=False) == "A bridge at night."
    assert _on_one_line("A bridge. A coat. And a h", cut_off=True) == "A bridge. A coat."
    for nothing in ("  \n", '""'):
        with pytest.raises(InputError, match="says nothing of this photo") as caught:
            _on_one_line(nothing, cut_off=False)
        # A ModelError would end the run.
        assert caught.type is InputError


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ('a coat, and a sign that reads "STOP"', 'a coat, and a sign that reads "STOP"'),
        ('"STOP" is on one sign, and on another "GO"', '"STOP" is on one sign, and on another "GO"'),
        ("“A coat.”", "A coat."),
        ("'A coat'", "A coat"),
    ],
)
def test_only_quotes_around_the_whole_answer_go(answer, line):
    assert _on_one_line(answer, cut_off=False) == line


def test_an_answer_that_was_cut_off_loses_the_quote_that_was_never_closed():
    assert _on_one_line('"A bridge. A coat. And a h', cut_off=True) == "A bridge. A coat."


def test_a_photo_that_the_model_stumbles_over_costs_itself_alone(photos, model, monkeypatch):
    (photos / "photos" / "a.txt").unlink()
    answer = CaptionModel._answer

    def stumble(self, rgb_HW3, prompt):
        if rgb_HW3.min() == 255:
            raise TemplateError("No user query found in messages.")
        return answer(self, rgb_HW3, prompt)

    save(photos / "photos" / "a.png", np.full((*reversed(PHOTO_WH), 3), 255, np.uint8))
    monkeypatch.setattr(CaptionModel, "_answer", stumble)
    summary = described(photos, model)
    assert (summary.written, len(summary.failures)) == (1, 1)
    problem = summary.failures[0].problem
    assert problem.where == (str(photos / "photos" / "a.png"),)
    assert "No user query found" in problem.what


def test_a_tokenizer_or_an_image_processor_alone_is_no_processor(model, tmp_path):
    for name, kind in (("tokenizer", "llama"), ("image_processor", "vit")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
        getattr(_load_processor(model), name).save_pretrained(folder)
        # What was saved alone names no processor that it belongs to.
        for path in folder.glob("*r_config.json"):
            alone = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps({**alone, "processor_class": None}), encoding="utf-8")
        with pytest.raises(ModelError, match="does not take photos and text together"):
            _load_processor(folder)


def test_a_blip_does_not_repeat_the_question(tmp_path):
    """It is the one kind whose answer holds the question without the token at its end."""
    blip = CaptionModel(write_blip(tmp_path / "blip"), device="cpu")
    assert set(blip.describe(random_rgb((64, 48), seed=1), "a photo of")) <= set("bcdf")


def test_a_folder_without_a_processor_is_refused_before_anything_is_loaded(photos, model):
    (photos / "other").mkdir()
    (photos / "other" / "config.json").write_bytes((model / "config.json").read_bytes())
    for folder, message in ((photos / "nowhere", "is no folder"), (photos / "other", "holds no processor")):
        with pytest.raises(ModelError, match=message):
            plan(asked(photos, folder))
    with pytest.raises(UsageError, match="needs a model, and none is named"):
        plan(asked(photos, None))


def test_a_model_of_another_kind_is_refused(photos, model, tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({"model_type": "vit", "hidden_size": settings.get("hidden_size", 8)})
    )
    with pytest.raises(ModelError, match="cannot be loaded"):
        described(photos, folder)


def test_a_missing_package_is_named(model, monkeypatch):
    import transformers

    from blissmask.errors import MissingPackageError

    def refuse(*arguments, **options):
        raise ImportError("AutoVideoProcessor requires the Torchvision library")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", refuse)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="needs torchvision"):
        CaptionModel(model, device="cpu")


def test_videos_and_lists_are_left_out_and_named(photos, model):
    found = asked(photos, model)
    videos = found.datasets[0].model_copy(
        update={"image_directory": None, "video_directory": photos / "clips", "cache_directory": photos / "other"}
    )
    both = plan(found.model_copy(update={"datasets": (*found.datasets, videos)}))
    assert len(both.items) == 2
    assert ["videos get no captions" in problem.what for problem in both.warnings] == [True]
    alone = plan(found.model_copy(update={"datasets": (videos,)}))
    assert (alone.items, alone.warnings[0].what) == ([], "there are no photos to describe")
    assert run(alone, RunContext(jobs=1)).failures == []


def test_a_model_that_is_gone_does_not_matter_where_nothing_is_left_to_describe(photos):
    (photos / "photos" / "b.txt").write_text("mine, too", encoding="utf-8")
    assert described(photos, photos / "nowhere").skipped == 2


def test_captions_are_told_apart_by_their_files(photos, model):
    found = asked(photos, model)

    def places(*datasets):
        sections = [found.datasets[0].model_copy(update=places) for places in datasets]
        return [item.target for item in plan(found.model_copy(update={"datasets": tuple(sections)})).items]

    for name in ("one", "two"):
        (photos / name).mkdir()
    photo_folder(photos / "others", ["a.png"], size_wh=PHOTO_WH)
    # The same photos with captions for two trainings, and photos of one name with one caption.
    both = places({"caption_directory": photos / "one"}, {"caption_directory": photos / "two"})
    assert both == [photos / folder / f"{name}.txt" for folder in ("one", "two") for name in "ab"]
    shared = {"caption_directory": photos / "one"}
    assert places(shared, {**shared, "image_directory": photos / "others"}) == both[:2]
