"""[[subjects]]: several people of one LoRA, each with words, references and folders of their own."""

import json
from pathlib import Path

import pytest

from blissmask.cli.prepare import for_subject, refuse_missing_references
from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.dataset.captions.caption_words import class_words, fill_in, words_for
from blissmask.errors import UsageError

KYLA = {"name": "kyla", "trigger": "ohwx", "class_word": "woman", "references": ["kyla.jpg"]}
JANE = {"name": "jane", "trigger": "sks", "references": ["jane", "jane2.jpg"]}


def config(**tables):
    return Config.model_validate({"subjects": [KYLA, JANE], **tables})


def problems_of(tmp_path, **tables):
    (tmp_path / "c.json").write_text(json.dumps({"subjects": [KYLA, JANE], **tables}))
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "c.json", {})
    return caught.value.problems[0].where


def test_a_data_set_has_the_words_of_its_subject():
    general = {"trigger": "nobody", "class_word": "person"}
    datasets = [{"subject": "kyla"}, {"subject": "jane"}, {"subject": "kyla", "trigger": "own"}, {}]
    found = config(general=general, datasets=datasets).datasets
    words = [("ohwx", "woman"), ("sks", "person"), ("own", "woman"), ("nobody", "person")]
    assert [(dataset.trigger, dataset.class_word) for dataset in found] == words


def test_captions_name_subjects_by_their_names_and_nobody_else(tmp_path):
    templates = {"caption": "{trigger} and {jane}", "zoom_face_caption": "{kyla}, {caption}"}
    (tmp_path / "c.json").write_text(
        json.dumps({"general": templates, "subjects": [KYLA, JANE], "datasets": [{"subject": "kyla"}]})
    )
    [section] = load_config(tmp_path / "c.json", {}).datasets
    assert fill_in(section.caption, words_for(section)) == "ohwx and sks"
    [line] = problems_of(tmp_path, general={"caption": "{joan}"})
    assert "names no placeholders but {class_word}, {trigger}, {kyla}, {jane}, and this names {joan}" in line


def test_everybody_has_folders_of_their_own_and_is_nobody_else():
    made = for_subject(
        config(
            instance={"output": "subject", "review": "review", "sheet": "found.html", "negatives": ["sister"]},
            apply={"weighted_masks": "masks", "instance_masks": "subject", "output": "applied"},
        ),
        config().subjects[0],
    )
    assert made.instance.reference == [Path("kyla.jpg")]
    assert made.instance.negatives == [Path("sister"), Path("jane"), Path("jane2.jpg")]
    assert (made.instance.output, made.instance.review) == (Path("subject/kyla"), Path("review/kyla"))
    assert made.instance.sheet == Path("found-kyla.html")
    folders = (made.apply.weighted_masks, made.apply.instance_masks, made.apply.output)
    assert folders == (Path("masks"), Path("subject/kyla"), Path("applied/kyla"))


def test_references_that_are_not_there_are_named_with_their_subject(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kyla.jpg").touch()
    (tmp_path / "jane").mkdir()
    with pytest.raises(UsageError) as caught:
        refuse_missing_references(config())
    [problem] = caught.value.problems
    assert problem.what == "subject `jane`: `references`: there is no such photo or folder"
    assert (problem.where, problem.fix) == (("jane2.jpg",), "correct `references` of `jane` in [[subjects]]")
    (tmp_path / "jane2.jpg").touch()
    refuse_missing_references(config())


def test_a_subject_that_is_not_there_is_named(tmp_path):
    [line] = problems_of(tmp_path, datasets=[{"subject": "joan"}])
    assert line == '[[datasets]]: `subject = "joan"` names none of the [[subjects]]; those are kyla, jane'


def test_a_data_set_of_several_names_them_in_captions_and_has_no_trigger_of_its_own():
    general = {"class_word": "person"}
    [both] = config(general=general, datasets=[{"subject": ["kyla", "jane"]}]).datasets
    assert both.several == ("kyla", "jane")
    assert fill_in("{kyla} and {jane}", words_for(both)) == "ohwx and sks"
    assert both.trigger is None
    # Hers is that of [general].
    assert class_words(both, 1) == {"ohwx": "woman", "sks": "person"}
    [lacking] = config(datasets=[{"subject": ["kyla", "jane"]}]).datasets
    with pytest.raises(UsageError, match="needs a `class_word` of `jane` for dataset 1"):
        class_words(lacking, 1)


def test_one_subject_in_a_list_is_one_by_name():
    text, listed = config(datasets=[{"subject": "kyla"}, {"subject": ["kyla"]}]).datasets
    assert text == listed
    assert (listed.trigger, listed.several) == ("ohwx", ())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"subject": ["kyla", "joan"]}, '`subject = "joan"` names none of the [[subjects]]; those are kyla, jane'),
        ({"subject": ["kyla", "kyla"]}, "`subject` names one of the [[subjects]] twice"),
        (
            {"subject": ["kyla", "jane"], "alpha_mask": True},
            "`alpha_mask = true` does not go with several subjects: each",
        ),
        (
            {"subject": ["kyla", "jane"], "default_mask": "a.png"},
            "`default_mask` does not go with several subjects: each",
        ),
    ],
)
def test_what_does_not_go_with_several_subjects_is_told(tmp_path, settings, told):
    [line] = problems_of(tmp_path, datasets=[settings])
    assert told in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trigger": "ohwx"}, "two tables have the same `trigger`"),
        ({"name": "kyla"}, "two tables have the same `name`"),
        ({"name": "trigger"}, "`trigger` cannot be a `name`: in captions {trigger} stands for something else"),
        ({"name": "a/b"}, "`name` must be a name that a folder can have"),
        ({"references": []}, "`references` must be a list of at least one path"),
    ],
)
def test_what_is_wrong_with_a_subject_is_named_alone(tmp_path, changes, told):
    datasets = [{"subject": "kyla"}]
    [line] = problems_of(tmp_path, subjects=[KYLA, {**JANE, **changes}], datasets=datasets)
    assert told in line


def test_a_key_that_is_missing_is_named(tmp_path):
    [line] = problems_of(tmp_path, subjects=[{"name": "kyla", "references": ["a.jpg"]}])
    assert line == "[[subjects]] 1: `trigger` is missing"
