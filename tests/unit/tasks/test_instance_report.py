"""Which subject mask comes first on the contact sheet of `instance`."""

from blissmask.people.people_backend import Verdict
from blissmask.tasks.instance.report import Score, badness_of


def score(distance: float | None, *, verdict: Verdict = Verdict.FOUND, covered: float = 0.2) -> Score:
    return Score(verdict, distance, margin=0.3, people=1, partial=False, carried=False, covered=covered)


def test_a_remark_comes_first_then_what_is_least_alike():
    items = {
        "near": score(0.2),
        "far": score(0.5),
        "unmeasured": score(None),
        "uncertain": score(0.3, verdict=Verdict.UNCERTAIN),
        "empty": score(0.9, verdict=Verdict.ABSENT, covered=0.0),
    }
    order = sorted(items, key=lambda name: badness_of(items[name]).worst_first)
    assert order == ["empty", "uncertain", "unmeasured", "far", "near"]
