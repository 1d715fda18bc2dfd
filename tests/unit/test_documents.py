"""TOML and JSON that people write: a mistake names its line, shows it, and says how to mend it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blissmask.config.model import Config
from blissmask.documents import DocumentError, parse_json, parse_toml, refuse_half_characters

QUOTES = 'text stands in quotes: `a = "photos/train"`'
CURLY = "these are curly quotes; write straight ones, \" or '"
CLOSE = "close it with the quote that it begins with"
STATEMENT = "Expected newline or end of document after a statement"
BACKSLASH = "in double quotes a backslash starts an escape: write paths with / or in single quotes"


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        ("a = photos/train", "Invalid value", QUOTES),
        ("a = photos/train # mine", "Invalid value", QUOTES),
        ("a = C:\\photos", "Invalid value", "text stands in quotes: `a = 'C:\\photos'`"),
        ("a = True", "Invalid value", "write `a = true`"),
        ("a = no", "Invalid value", "write `a = false`"),
        ("a = “photos”", "Invalid value", CURLY),
        ("a = ‘photos’", "Invalid value", CURLY),
        ('a = "photos”', "a text has no closing quote", CURLY),
        ('a = "photos', "a text has no closing quote", CLOSE),
        ("a = 'photos", "a text has no closing quote", CLOSE),
        ('a = "C:\\photos"', "Unescaped '\\' in a string", BACKSLASH),
        ('a = "C:\\Users"', "Invalid hex value", BACKSLASH),
        ("a == 1", "Invalid value", "write `a = 1`"),
        ("a =", "Invalid value", "write a value, or leave `a` out"),
        ("a = None", "Invalid value", "write a value, or leave `a` out"),
        ('a: "photos"', "Expected '=' after a key in a key/value pair", 'write `a = "photos"`'),
        ("a = 960x544", STATEMENT, "write a list: `a = [960, 544]`"),
        ("a = 960, 544", STATEMENT, "write a list: `a = [960, 544]`"),
        ("a = 1,5", STATEMENT, "write a list, `a = [1, 5]`, or a number with a point, `a = 1.5`"),
        ("a = 1,000", STATEMENT, "write `a = 1000`, without a comma"),
        ("a = 1,000,000", STATEMENT, "write `a = 1000000`, without commas"),
        ("a = 960,544", STATEMENT, "write a list, `a = [960, 544]`, or a number without a comma, `a = 960544`"),
        ("a = 0,7 # mine", STATEMENT, "decimals have a point: `a = 0.7`"),
        ("a = 1,5e-4", STATEMENT, "decimals have a point: `a = 1.5e-4`"),
        ("a = 1e-4,", STATEMENT, "write `a = 1e-4`, with nothing behind the value"),
        ("a = .5", "Invalid value", "write `a = 0.5`"),
        ("a = [960; 544]", "Unclosed array", "values of a list have commas between them"),
        ("a = [1, 2; 3]", "Unclosed array", "values of a list have commas between them"),
        ('a = ["x" "y"]', "Unclosed array", "values of a list have commas between them"),
        ("a = 'it's'", STATEMENT, "a text that holds ' stands in double quotes"),
        ("[[datasets]", "Expected ']]' at the end of an array declaration", "close it as it begins: `[[datasets]]`"),
        ("[general", "Expected ']' at the end of a table declaration", "close it as it begins: `[general]`"),
        ("// mine", "Invalid statement", "comments begin with #"),
        ("b = 2", "Cannot overwrite a value", "it stands there twice: keep one of them"),
        ("a b = 1", "Expected '=' after a key in a key/value pair", ""),
    ],
)
def test_a_slip_names_its_line_and_the_way_to_write_it(line: str, what: str, fix: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_toml(f"# a comment with one ' quote\nb = 'x'\n{line}\nc = \"y\"\n")
    assert (str(caught.value), caught.value.place, caught.value.fix) == (what, f"line 3: {line}", fix)


def test_the_quote_that_is_missing_is_found_before_the_one_that_ends_the_text() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_toml('a = \'photos\n[model]\narch = "x"\n')
    assert caught.value.place == "line 1: a = 'photos"


def test_a_long_line_is_cut() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_toml(f"a = {'x' * 1000}\n")
    assert len(caught.value.place) < 120


def test_a_mistake_in_json_names_its_line() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_json('{"a": 1,\n b}')
    assert (str(caught.value), caught.value.place) == (
        "Expecting property name enclosed in double quotes at column 2",
        "line 2: b}",
    )


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000], ids=["open", "closed", "tables"]
)
def test_deep_brackets_in_json_are_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + "{a=" * 5000, ".".join("a" * 5000) + " = 1"], ids=["lists", "tables", "keys"]
)
def test_deep_brackets_and_keys_in_toml_are_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="nested too deeply"):
        parse_toml(text)


@pytest.mark.parametrize("parse", [lambda digits: parse_toml(f"a = {digits}"), parse_json], ids=["toml", "json"])
def test_a_number_of_five_thousand_digits_is_refused(parse) -> None:
    with pytest.raises(DocumentError, match="too many digits"):
        parse("9" * 5000)


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff": 1}', '["a", {"b": "x\\udc80"}]'])
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="half a character"):
        refuse_half_characters(parse_json(text))


def test_a_whole_character_in_two_halves_is_taken() -> None:
    refuse_half_characters(parse_json('"\\ud83d\\ude00"'))


SNIPPETS = ["a", ".", "=", " ", "\n", '"', "'", '"""', "[", "]", "[[", "{", "}", ",", "\\", "\0", "“", "#", "1e9", "0x"]


@given(st.lists(st.one_of(st.sampled_from(SNIPPETS), st.characters(codec="utf-8"))).map("".join))
def test_no_text_ends_in_another_error(text: str) -> None:
    for parse in (parse_toml, parse_json):
        with contextlib.suppress(DocumentError):
            parse(text)


def test_a_list_that_is_not_closed_and_a_table_that_stands_there_twice_say_what_to_do() -> None:
    for text, fix in {
        'a = ["x"\n[b]\n': "close the list before this with `]`",
        "[a]\nb = 1\n[a]\n": "the table stands there twice: write all of its keys under one",
    }.items():
        with pytest.raises(DocumentError) as caught:
            parse_toml(text)
        assert caught.value.fix == fix


@pytest.mark.parametrize("name", sorted(name for name, value in Config() if isinstance(value, tuple)))
def test_no_data_set_is_merged_with_another_where_a_heading_lacks_its_second_brackets(name: str) -> None:
    for first, second in (("[{}]", "[[{}]]"), ("[[{}]]", "[{}]"), ("[{}]", "[{}]")):
        with pytest.raises(DocumentError) as caught:
            parse_toml(f"{first}\na = 1\n{second}\na = 2\n".format(name, name))
        assert caught.value.fix == f"each of several begins with `[[{name}]]`, the first one, too"
