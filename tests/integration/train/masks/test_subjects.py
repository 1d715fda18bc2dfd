"""Several subjects in one LoRA: banner, log and page say what each of them has of the weight, and its loss."""

from blissmask.config.model import Config
from blissmask.events import Announced
from blissmask.training.record.metrics import read_log
from tests.builders.training import run, train_config, write_masked_set


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
    assert f"<td>{subject}</td><td>{line['loss/face']:.4f} to {line['loss/face']:.4f}</td>" in shown
