"""The shape of the package: no circles of files or folders, folders that can be seen as a whole, no nested conditionals.

Which floor stands on which is held by import-linter (`pyproject.toml`); it does not see circles inside a floor.
"""

import ast
import functools
import graphlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

from blissmask.families.registry import FAMILIES, load_family

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "blissmask"
TESTS = ROOT / "tests"
ROOMS_OF_FAMILIES = TESTS / "integration" / "families"
"""The tests of one model line lie in a folder of it here, and name its families."""
MAY_NAME_FAMILIES = ("tests/benchmarks/", "tests/builders/families.py", "tests/unit/cachefile/")
"""Figures of a certain model; the roles of families; the format of cache files, which is another program's."""
CACHE_SUFFIXES = [load_family(name).cache_suffix for name in FAMILIES.names()]
FOLDERS_OF_FAMILIES = tuple(
    sorted({f"{FAMILIES.load(name).__name__.rpartition('.')[0]}." for name in FAMILIES.names()})
)
_NAMES, _SUFFIXES = ("|".join(map(re.escape, names)) for names in (FAMILIES.names(), CACHE_SUFFIXES))
NAMED_IN_A_TEXT = re.compile(rf"""(arch = ["']|--arch |`)({_NAMES})\b|_({_SUFFIXES})(_te)?\.safetensors""")
MOST_ENTRIES = 17
"""What is seen as a whole when a folder is opened: about 16, and `__init__.py`."""


@functools.cache
def trees():
    """Return the syntax tree of every module by its dotted name."""
    return {dotted_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def nodes():
    """Return all nodes of every module by its dotted name."""
    return {name: list(ast.walk(tree)) for name, tree in trees().items()}


@functools.cache
def places_of_texts():
    """Return the (module, line) of every string of the package, by the string."""
    places = defaultdict(list)
    for name, found in nodes().items():
        for line, text in strings_among(found):
            places[text].append((name, line))
    return places


def dotted_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module):
    """Return the dotted name of the folder that a module lies in; a package is its own folder."""
    is_package = (ROOT / module.replace(".", "/")).is_dir()
    return module if is_package else module.rpartition(".")[0]


def imported(tree, known):
    """Return the modules of the package that a file imports, inside functions too, but not for type checking alone."""
    names = set()
    for node in statements_that_run(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & known


def statements_that_run(tree):
    """Yield every statement but those below `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            # Expressions hold no statements.
            waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]


@functools.cache
def imports():
    known = set(trees())
    return {name: imported(tree, known) - {name} for name, tree in trees().items()}


def circle_in(arrows):
    """Return the nodes of a circle, or None where there is none."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_no_files_import_each_other_in_a_circle():
    assert circle_in(imports()) is None


def test_no_folders_import_each_other_in_a_circle():
    arrows = defaultdict(set)
    for name, others in imports().items():
        for other in others:
            ours, theirs = folder_of(name), folder_of(other)
            # A folder and one inside it are one room.
            apart = not f"{ours}.".startswith(f"{theirs}.") and not f"{theirs}.".startswith(f"{ours}.")
            if apart:
                arrows[ours].add(theirs)
    assert circle_in(arrows) is None


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) is None


def test_every_folder_can_be_seen_as_a_whole():
    crowded = {}
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        entries = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
        if len(entries) > MOST_ENTRIES and folder != PACKAGE:
            crowded[str(folder.relative_to(ROOT))] = len(entries)
    assert crowded == {}


def test_no_conditional_expression_stands_inside_another():
    nested = []
    for name, found in nodes().items():
        for node in found:
            parts = (node.test, node.body, node.orelse) if isinstance(node, ast.IfExp) else ()
            if any(isinstance(part, ast.IfExp) for part in parts):
                nested.append(f"{name}:{node.lineno}")
    assert nested == []


def test_init_files_hold_a_docstring_and_nothing_else():
    spoken = {dotted_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("__init__.py")}
    del spoken["blissmask"]
    assert [name for name, tree in spoken.items() if len(tree.body) != 1 or ast.get_docstring(tree) is None] == []


@pytest.mark.parametrize("name", FAMILIES.names())
def test_a_family_is_named_in_its_own_folder_alone(name):
    """Everything else asks the registry."""
    # A folder may have the name of the family in it.
    folders = {name_of.rpartition(".")[0] for name_of in trees()}
    home = {name_of for name_of in trees().keys() - folders if name_of.rpartition(".")[2].replace("_", "-") == name}
    assert len(home) == 1
    own_folder = home.pop().rpartition(".")[0]
    named = places_of_texts()[name]
    assert [place for place in named if not place[0].startswith(f"{own_folder}.")] == []


def names_a_family(text):
    """Return whether a string of a test is a family's name or the end of its cache files, or has one in it.

    In it: in a configuration, a command, a message, or a file's name.
    """
    return text in FAMILIES.names() or text in CACHE_SUFFIXES or NAMED_IN_A_TEXT.search(text) is not None


def strings_among(found):
    """Yield (line, text) of every string among the nodes of a file, the fixed parts of f-strings too."""
    for node in found:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def imports_of_families(found):
    """Yield (line, module) of every import from a family's folder among the nodes of a file."""
    for node in found:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(FOLDERS_OF_FAMILIES):
            yield node.lineno, node.module


def test_no_test_outside_a_familys_own_room_names_one():
    """Everything else asks the registry for a family by what it can do: `tests/builders/families.py`."""
    places = []
    for path in sorted(TESTS.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if path.parent.parent == ROOMS_OF_FAMILIES or place.startswith(MAY_NAME_FAMILIES):
            continue
        found = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        places += [f"{place}:{line}" for line, text in strings_among(found) if names_a_family(text)]
        places += [f"{place}:{line}" for line, _ in imports_of_families(found)]
    assert places == []


def test_a_named_family_is_found():
    name, suffix = FAMILIES.names()[0], CACHE_SUFFIXES[0]
    named = [name, f'[model]\narch = "{name}"', f"blissmask cache --arch {name} --model tiny"]
    assert all(map(names_a_family, [*named, suffix, f"a_{suffix}.safetensors", f"a_{suffix}_te.safetensors"]))
    assert not any(map(names_a_family, [f"{name}x", f"of {name}", "--arch NAME", f"a_{suffix}.png"]))
    folder = FOLDERS_OF_FAMILIES[0].rstrip(".")
    assert list(imports_of_families(ast.parse(f"from {folder}.parts import VAE").body)) == [(1, f"{folder}.parts")]
    assert not list(imports_of_families(ast.parse("from blissmask.families.registry import FAMILIES").body))


READS_OTHERWISE = {
    # The package's own modules, and what the kernel tells in /proc and /sys.
    "blissmask.plugins",
    "blissmask.free_memory",
}
OPENS_TO_WRITE = ("w", "a", "x", "+")
# Pillow gets a file that is open already, PyAV a path that was looked at; the third one is the null device.
OPENS_WHAT_IS_OPEN = ("Image.open", "av.open", "os.open")


def test_files_are_opened_in_one_place_that_refuses_pipes_and_devices():
    elsewhere = []
    for name, found in nodes().items():
        for node in found:
            if name.startswith("blissmask.storage.") or name in READS_OTHERWISE or not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            mode = "".join(str(part.value) for part in node.args if isinstance(part, ast.Constant))
            reads = called == "open" and not any(letter in mode for letter in OPENS_TO_WRITE)
            by_path = called in ("read_text", "read_bytes") and isinstance(node.func, ast.Attribute)
            if by_path or (reads and ast.unparse(node.func) not in OPENS_WHAT_IS_OPEN):
                elsewhere.append(f"{name}:{node.lineno}")
    assert elsewhere == []
