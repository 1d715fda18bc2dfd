"""The README and the guides tell the truth: their commands run, what they show is what is printed, messages exist, and links lead somewhere."""

import ast
import functools
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from blissmask.config.sections.mask_loss_section import PRESETS
from blissmask.families.registry import FAMILIES, load_family
from tests.builders import backend_models as models
from tests.builders.caption_models import write_caption_model
from tests.builders.command import Ran, run_here
from tests.builders.example_configs import STARTERS, fill, miniature

ROOT = Path(__file__).parents[2]
# Clips come last: their masks stand where those of photos do.
GUIDES = sorted((ROOT / "examples").glob("*.md"), key=lambda path: (path.name == "clips.md", path.name))
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *GUIDES)}
README = PAGES[ROOT / "README.md"]
TEXT = "\n".join(PAGES.values())
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHELL_LINES = [
    line.split("  #")[0].strip()
    for language, text in FENCES
    if language == "bash"
    for line in text.splitlines()
    if line.strip()
]
WAITS = "--retouch"
"""What opens a page and waits for a person; tests/e2e of its own open one."""
COMMANDS = list(dict.fromkeys(line for line in SHELL_LINES if line.startswith("blissmask ") and WAITS not in line))
SHOWN = {
    text.partition("\n")[0].removeprefix("$ "): text.splitlines()[1:]
    for language, text in FENCES
    if text.startswith("$ blissmask ")
}
# By the fixture `quickstart`, test_wheel.py, test_train_processes.py; what installs more; this very suite.
RUN_ELSEWHERE = {
    "bash examples/quickstart/run.sh",
    "pip install .",
    "torchrun --nproc-per-node 2 -m blissmask train --config person.toml --memory none --fsdp",
    "bash tests/run.sh",
    'pip install "blissmask[retouch]"',
}
MINIATURES = {
    "sapiens_1b_goliath_torchscript.pt2": models.sapiens_file,
    "sapiens2_folder": models.sapiens2_folder,
    "parser_folder": lambda folder: models.segformer_folder(
        folder, labels=("background", "hat", "hair", "face", "upper-clothes")
    ),
    "sam3_folder": models.sam3_folder,
    "yolo26l-seg.onnx": models.yolo_export,
    "rfdetr_folder": models.rfdetr_folder,
    "buffalo_l": models.insightface_pack,
    "Qwen2-VL-2B-Instruct": write_caption_model,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, networks_remember: None) -> dict[str, Ran]:
    """Run the README's commands in its order, in a folder that has what they name."""
    folder = tmp_path_factory.mktemp("readme")
    fill(folder)
    for path in STARTERS.glob("*.toml"):
        (folder / path.name).write_text(miniature(path.name), encoding="utf-8")
    (folder / "blissmask.toml").write_text(miniature("person.toml"), encoding="utf-8")
    prompts = next(text for _, text in FENCES if text.startswith("a portrait"))
    # Small ones: the miniatures draw large pictures as slowly as real models on a GPU.
    prompts = re.sub(r"--f \d+", "--f 5", re.sub(r"--([wh]) \d+", r"--\1 64", prompts)).replace("\n", " --s 2\n")
    (folder / "prompts.txt").write_text(prompts, encoding="utf-8")
    for name, build in MINIATURES.items():
        made = build(tmp_path_factory.mktemp("model"))
        (folder / name).symlink_to(made, target_is_directory=made.is_dir())
    # What goes into a file in a shell is read by nobody here.
    return {line: run_here(line.partition(" > ")[0], folder) for line in COMMANDS}


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(line: str, ran: dict[str, Ran]):
    if "insightface" in line and find_spec("insightface") is None:
        pytest.skip("insightface is not installed")
    assert ran[line].code == 0, ran[line].err


def test_nothing_else_is_typed():
    typed = {line for line in SHELL_LINES if WAITS not in line}
    assert typed - set(COMMANDS) == RUN_ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("command", SHOWN)
def test_what_is_shown_is_what_is_printed(command: str, quickstart, tmp_path: Path):
    done = quickstart.ran.get(command.removeprefix("blissmask ")) or run_here(command, tmp_path)
    printed = [line.strip() for line in f"{done.err}\n{done.out}".splitlines() if line.strip()]
    shown = [line.strip() for line in SHOWN[command] if line.strip()]
    start = next((place for place, line in enumerate(printed) if same_line(line, shown[0])), None)
    assert start is not None, printed
    for one, other in zip(shown, printed[start:], strict=False):
        assert same_line(one, other), f"the page shows {one!r}, printed is {other!r}"
    assert len(printed) - start >= len(shown)


NUMBER = re.compile(r"\d+(?:\.\d+)?")


def same_line(one: str, other: str) -> bool:
    """Compare words exactly, but for their distance; decimal numbers to a tenth, as other machines round differently; times not at all."""
    one, other = (re.sub(r"\(\d[\dhmin. ]* (s|min)\)", "(time)", " ".join(line.split())) for line in (one, other))
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(
        a == b or ("." in a and "." in b and abs(float(a) - float(b)) <= max(0.02, 0.1 * float(a))) for a, b in pairs
    )


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(blissmask [^`]*--[^`]+)`", TEXT))))
def test_command_within_the_text_is_understood(line: str, tmp_path: Path):
    (tmp_path / "blissmask.toml").write_text(miniature("person.toml"), encoding="utf-8")
    # Photos are missing here, so it may be refused; but for that, not for its flags or its configuration.
    assert run_here(line, tmp_path).code in (0, 1)


@functools.cache
def code_strings() -> list[str]:
    """Return every text in the package's source; implicitly joined ones as one."""
    nodes = (
        node
        for path in (ROOT / "blissmask").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


TROUBLESHOOTING = PAGES[ROOT / "examples" / "troubleshooting.md"]
MESSAGES = re.findall(r"^\| `([^`]+)` \|", TROUBLESHOOTING, re.MULTILINE)


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_one_of_ours(message: str):
    longest = max(re.split(r"\bX |\d[\d.]*%?|\.\.\.", message), key=len)
    end = " ".join(longest.strip(" .").split()[-4:])
    assert any(end in text for text in code_strings()), end


def test_troubleshooting_knows_messages():
    assert len(MESSAGES) >= 7


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path):
    for target, heading in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", PAGES[page]):
        path = (page.parent / target) if target else page
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings]


def test_every_guide_is_in_the_index():
    index = PAGES[ROOT / "examples" / "README.md"]
    assert [page.name for page in PAGES if page.parent.name == "examples" and f"({page.name})" not in index] == [
        "README.md"
    ]


def test_the_guide_of_families_has_each_with_its_tasks():
    page = PAGES[ROOT / "examples" / "families.md"].partition("## Model files")[0]
    _, *rows = re.findall(r"^\| `(\S+)` \| .+? \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    families = {name: load_family(name).tasks for name in FAMILIES.names()}
    assert {name: re.findall(r"`(\S+)`", tasks) for name, tasks, _ in rows} == {
        name: list(tasks) for name, tasks in families.items()
    }
    assert {name: "clips" in learns_from for name, _, learns_from in rows} == {
        name: any(task.takes_videos for task in tasks.values()) for name, tasks in families.items()
    }


def test_the_guide_of_families_names_the_files_that_each_task_needs():
    page = PAGES[ROOT / "examples" / "families.md"].partition("## Model files")[2]
    columns, *rows = re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)
    always = set(re.findall(r"`(\w+)`", columns)) - {"arch"}
    told = {}
    for row in rows:
        arch, *cells = (cell.strip() for cell in row.split("|"))
        further = set(re.findall(r"`((?:dit|text_encoder|image_encoder|tokenizer)\w*)`", cells[3]))
        told[arch.strip("`")] = always | further | {"tokenizer"}
    needed = {
        name: {part.field for task in load_family(name).tasks.values() for part in _parts(task)}
        for name in FAMILIES.names()
    }
    assert told == needed


def _parts(task):
    return [*task.latents, *task.text, *task.denoisers.values()]


def test_the_readme_stays_short():
    # A page that is read in ten minutes; what is longer is a guide.
    assert len(README.encode()) < 13_000


def test_presets_are_as_described():
    described = dict(re.findall(r"^\| `([a-z-]+)` \| ([\d.]+ \| [\d.]+ \| [\d.]+) \|", README, re.MULTILINE))
    numbers = {
        name: f"{preset.get('mask_gamma', 1):g} | {preset['mask_min_weight']:g} | {preset.get('prior_preservation_weight', 0):g}"
        for name, preset in PRESETS.items()
    }
    assert described == numbers
