"""Arguments of other libraries as text."""

from blissmask.training.optim.arguments import accepted_by, parse_arguments


def test_arguments_are_literals_or_text_and_may_hold_equals_signs():
    parsed = parse_arguments(["betas=(0.9, 0.99)", "fused=False", "name=a=b"], option="optimizer_args")
    assert parsed == {"betas": (0.9, 0.99), "fused": False, "name": "a=b"}


def test_words_of_toml_and_shells_are_no_text():
    """As text, `false` would count as true."""
    assert parse_arguments(["a=false", "b = true", "c=none"], option="x") == {"a": False, "b": True, "c": None}


def test_whoever_takes_any_argument_is_not_asked_for_names():
    assert accepted_by(lambda **options: options, but=()) is None
    assert accepted_by(lambda a, b=1, *, c: a, but=("a",)) == ["b", "c"]
