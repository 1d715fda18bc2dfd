"""The table of promises in tests/README.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PROMISES = 28


def test_every_promise_names_tests_that_exist() -> None:
    rows = re.findall(
        r"^\| (\d+) \| (.+?) \| (.+) \|$", (TESTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [int(number) for number, _, _ in rows] == list(range(1, PROMISES + 1))
    for number, _, cell in rows:
        named = re.findall(r"`([^`]+)`", cell)
        assert named, number
        for test in named:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8") if name else (TESTS / file).is_file(), (
                test
            )
