"""Several subjects in one LoRA: the banner and the page say what each of them has of the weight."""

from blissmask.config.model import Config
from blissmask.events import Announced
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
