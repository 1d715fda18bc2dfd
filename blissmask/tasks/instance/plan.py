"""Plan `instance`: in which photos and videos one person is looked for, and by which networks and references."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.errors import Problem
from blissmask.masks import bars
from blissmask.people.faces.face_reader import IDENTITIES, FaceReader
from blissmask.people.people_backend import PEOPLE, PeopleBackend
from blissmask.storage.seen import Seen
from blissmask.tasks.instance.answers import Answer
from blissmask.tasks.instance.references import photos_of, settings_of, threshold_table, thresholds_of
from blissmask.tasks.instance.scores import COMMAND, LeftOut, decide_left_out, read_answers, read_left_out
from blissmask.tasks.instance.subject import FOLLOWING
from blissmask.tasks.mask_files.clip_forms import OtherForms, settle_forms
from blissmask.tasks.mask_files.contact_sheet import check_sheet, training_area, with_own_sheet
from blissmask.tasks.mask_files.licences import Weights, licence_table, refuse_non_commercial, to_json
from blissmask.tasks.mask_files.media_plan import Making, find_for_masks, is_video, keys_of, plan_media
from blissmask.tasks.mask_files.output_notes import kept_warning
from blissmask.tasks.run.folders import refuse_output_in_place, required
from blissmask.tasks.run.plan import Action, Explanation, Plan, PlannedItem


@dataclass(slots=True, kw_only=True)
class InstancePlan(Plan):
    """What `instance` will do.

    Attributes:
        output: the folder of the masks.
        backend: outlines people.
        reader: finds and embeds faces; None without references.
        weights: the weights that are used, with their licences.
        references, negatives: photos of the subject, and of people it must never be.
        seen: the states of these photos, before their content became part of the settings.
        making: how masks are made, as their notes record it.
        left_out: the items that an earlier run looked at and wrote nothing for.
        answers: what was said about who the subject is, by item.
        forms: masks of clips that are replaced by masks in the other form.
        options: the section of the configuration.
        training_area: pixels of a training picture, for the latent grid on the contact sheet.
    """

    output: Path
    backend: PeopleBackend
    reader: FaceReader | None
    weights: tuple[Weights, ...]
    references: list[Path]
    negatives: list[Path]
    seen: Seen
    making: Making
    left_out: dict[str, LeftOut]
    answers: dict[str, Answer]
    forms: OtherForms
    options: InstanceSection
    training_area: int


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folders that are written to.

    Raises:
        UsageError: folders are missing, or are folders that are read.
    """
    options = config.instance
    if options.explain:
        return ()
    source, output = _folders(config)
    if options.review is None:
        return (output,)
    refuse_output_in_place(options.review, {"photos": source, "subject masks": output})
    return output, options.review


def plan(config: Config) -> InstancePlan | Explanation:
    """Find photos, videos and references, and decide item by item.

    With ``explain``, only show how alike faces of one person are, and the licences.

    Raises:
        UsageError: folders are missing or wrong, a reference does not exist, or the licence of the weights forbids the
            use.
        InputError: a folder cannot be read, holds nothing, or two files have one name.
    """
    options = with_own_sheet(config.instance)
    if options.explain:
        return _explanation(options)
    source, output = _folders(config)
    check_sheet(options.sheet, [source, output])
    references, negatives = photos_of(options.reference, "--reference"), photos_of(options.negatives, "--negatives")
    seen = Seen.now([*references, *negatives])
    backend = PEOPLE.load(options.backend).backend(options)
    identity = IDENTITIES.load(options.identity)
    reader = identity.face_reader(options) if references else None
    weights = _weights(options, backend, reader)
    answers = read_answers(output)
    found, unread = find_for_masks(source, options.media, frames=options.video_masks == "frames")
    keys = keys_of(found)
    making = Making(
        command=COMMAND,
        settings={
            "backend": backend.identity,
            "bars": bars.METHOD,
            **settings_of(options, reader, references, negatives),
        },
        licences=to_json(weights),
        video_every=options.video_every,
        frames=options.video_masks == "frames",
        force=config.run.force,
        video_settings={"following": FOLLOWING, "video_masks": options.video_masks},
        own_settings={
            media.path: {"answer": answers[key].to_json()}
            for media, key in zip(found, keys, strict=True)
            if key in answers and not is_video(media.path)
        },
    )
    left_out = read_left_out(output)
    decided = [plan_media(media, output, key, making).item for media, key in zip(found, keys, strict=True)]
    items, forms = settle_forms([decide_left_out(item, left_out, making) for item in decided], making)
    return InstancePlan(
        command=COMMAND,
        items=items,
        outputs=outputs(config),
        warnings=[*unread, *_no_reference(options, items), *forms.warning(), *kept_warning(items)],
        details={"licences": to_json(weights)},
        output=output,
        backend=backend,
        reader=reader,
        weights=weights,
        references=references,
        negatives=negatives,
        seen=seen,
        making=making,
        left_out=left_out,
        answers=answers,
        forms=forms,
        options=options,
        training_area=training_area(config),
    )


def _no_reference(options: InstanceSection, items: Sequence[PlannedItem]) -> list[Problem]:
    """Warn, before hours of work, that photos with several people will fail where nothing says who the subject is."""
    if options.reference or options.on_missing == "largest" or not any(item.action is Action.WRITE for item in items):
        return []
    fix = "name a photo of the subject with `--reference`, or take the largest person with `--on-missing largest`"
    return [Problem("there is no reference: photos with one person are outlined, those with several fail", fix=fix)]


def _folders(config: Config) -> tuple[Path, Path]:
    """Return the folders of photos and of masks."""
    options = config.instance
    source, output = required(config, COMMAND, {"input": options.input, "output": options.output})
    refuse_output_in_place(output, {"photos": source})
    return source, output


def _explanation(options: InstanceSection) -> Explanation:
    """Return a plan that only shows how alike faces of one person are, and the licences."""
    backend = PEOPLE.load(options.backend).backend(options)
    reader: FaceReader = IDENTITIES.load(options.identity).face_reader(options)
    weights = _weights(options, backend, reader)
    thresholds = thresholds_of(options, reader)
    return Explanation(
        COMMAND,
        tables=[threshold_table(options.identity, thresholds), licence_table(weights)],
        details={"thresholds": dataclasses.asdict(thresholds), "licences": to_json(weights)},
    )


def _weights(options: InstanceSection, backend: PeopleBackend, reader: FaceReader | None) -> tuple[Weights, ...]:
    """Return the weights that are used.

    Raises:
        UsageError: the licence of some forbids the use.
    """
    weights = [Weights("--backend", options.backend, backend.identity, backend.licence)]
    if reader is not None:
        weights.append(Weights("--identity", options.identity, reader.identity, reader.licence))
    refuse_non_commercial(weights, commercial_only=options.commercial_only)
    return tuple(weights)
