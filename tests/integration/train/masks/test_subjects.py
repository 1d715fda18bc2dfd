"""Several subjects in one LoRA: banner, log and page say what each of them has of the weight, and its loss."""

import torch

from blissmask.config.model import Config
from blissmask.events import Announced
from blissmask.training.record.metrics import read_log
from tests.builders.training import run, stripes, train_config, weights_of, write_entry, write_masked_set


def in_company(folder):
    """Write two entries of a data set of both: the first shows jane beside kyla, the second kyla alone."""
    shares = stripes(1, 4, 4)
    jane = shares.flip(0)
    for number, second in enumerate((jane, 0 * jane)):
        write_entry(
            folder,
            f"both{number}",
            shape=(16, 1, 4, 4),
            weights=weights_of(shares),
            regions=shares,
            subject_sets=torch.cat([shares, second]),
            seed=number,
            **{"blissmask.subjects": '{"kyla": true, "jane": true}'},
        )
    return folder


def test_items_of_both_give_each_losses_and_a_share(tmp_path):
    datasets = [{"cache_directory": in_company(tmp_path / "both"), "subject": ["kyla", "jane"]}]
    subjects = [{"name": name, "trigger": f"{name}wx", "references": ["a.jpg"]} for name in ("kyla", "jane")]
    plain = train_config(
        tmp_path, tmp_path / "out", use_mask_loss=True, max_train_steps=1, gradient_accumulation_steps=2
    )
    given = plain.model_dump(exclude_unset=True) | {"subjects": subjects, "datasets": datasets}
    _, recorder = run(Config.model_validate(given))
    lines = [line for event in recorder.of(Announced) for line in event.lines]
    # Stripes of 255, 128, 80 and 0: in the first entry those of 128 and 80 are of both, in the second all are kyla's.
    jane = (128 + 80) / 2 / (2 * (255 + 128 + 80))
    assert f" kyla: 2 entries, {1 - jane:.1%} of the weight" in lines
    assert f" jane: 1 entries, {jane:.1%} of the weight" in lines
    assert " entries that may show several of them: kyla and jane 1, kyla alone 1" in lines
    [line] = read_log(tmp_path / "out" / "kyla-log.jsonl")
    assert line["loss/kyla/face"] == line["loss/face"]
    assert {name for name in line if name.startswith("loss/jane/")} == {
        f"loss/jane/{tier}" for tier in ("face", "body", "hair", "background")
    }
    assert line["loss/jane/face"] != line["loss/face"]
    page = (tmp_path / "out" / "kyla.html").read_text()
    assert "<td>trigger</td><td>kylawx, janewx</td>" in page
    assert "<td>items trained</td><td class=figure>2</td>" in page


def test_the_banner_and_the_page_show_the_share_of_each_subject(tmp_path):
    datasets = []
    for name, count in (("kyla", 1), ("jane", 2)):
        folder = write_masked_set(tmp_path / name, count=count)
        datasets.append({"cache_directory": folder, "subject": name, "num_repeats": 3 if name == "kyla" else 1})
    subjects = [{"name": name, "trigger": f"{name}wx", "references": ["a.jpg"]} for name in ("kyla", "jane")]
    plain = train_config(tmp_path, tmp_path / "out", use_mask_loss=True, max_train_steps=1)
    given = plain.model_dump(exclude_unset=True) | {"subjects": subjects, "datasets": datasets}
    _, recorder = run(Config.model_validate(given))
    lines = [line for event in recorder.of(Announced) for line in event.lines]
    assert " kyla: 1 entries, 60.0% of the weight" in lines
    assert " jane: 2 entries, 40.0% of the weight" in lines
    page = (tmp_path / "out" / "kyla.html").read_text()
    assert "<td>kyla</td><td class=figure>1</td><td class=figure>60.0%</td>" in page
    assert "<td>jane</td><td class=figure>2</td><td class=figure>40.0%</td>" in page
    # One step shows an item of one of them.
    [line] = read_log(tmp_path / "out" / "kyla-log.jsonl")
    [subject] = {name.split("/")[1] for name in line if name.count("/") == 2}
    assert line[f"loss/{subject}/face"] == line["loss/face"]
    shown = page.partition("Loss of each subject")[2].partition("</section>")[0]
    assert f"<td>{subject}</td><td>{line['loss/face']:#.3g} to {line['loss/face']:#.3g}</td>" in shown
