"""Label selectors: the whole grammar, and what is none of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.lab.cloud.selector import Selector, SelectorError, Term, parse

LABELS = {"env": "prod", "pool": "servers", "empty": ""}

names = st.from_regex(r"[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,20}[a-zA-Z0-9])?", fullmatch=True)
keys = st.one_of(names, st.builds("{}/{}".format, names, names))
values = st.one_of(st.just(""), names)
terms = st.one_of(
    st.builds(Term, keys, st.sampled_from(["exists", "absent"])),
    st.builds(Term, keys, st.sampled_from(["in", "notin"]), st.lists(values, min_size=1, max_size=4).map(tuple)),
)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", True), ("env", True), ("none", False), ("!none", True), ("!env", False), ("! none", True),
        ("env=prod", True), ("env==prod", True), ("env = prod", True), ("env=test", False), ("none=", False),
        ("empty=", True), ("env!=prod", False), ("env!=test", True), ("none!=prod", True),
        ("env in (prod,test)", True), ("env in (test)", False), ("none in (prod)", False),
        ("env notin (prod, test)", False), ("none notin (prod)", True), ("empty in ()", True),
        ("env=prod,pool=servers", True), ("env in (prod,test),pool!=servers", False), ("env in (a,b) , pool", False),
    ],
)  # fmt: skip
def test_what_a_selector_chooses(text: str, chosen: bool) -> None:
    assert parse(text).chooses(LABELS) is chosen


@pytest.mark.parametrize(
    "text",
    ["=", "a=b=c", "a,,b", ",", "a b", "a in", "a in b", "a in (b", "a in (b))", "!a=b", "-a", "a-", "a/b/c", "a=-b",
     "a in (b c)", "a=" + "x" * 64, "a;b", "a\nb", "a in (b,c", "ä"],
)  # fmt: skip
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(SelectorError):
        parse(text)


def written(term: Term, space: str) -> str:
    listed = f"{space},{space}".join(term.values)
    return {"exists": term.key, "absent": f"!{space}{term.key}"}.get(
        term.operator, f"{term.key} {term.operator}{space}({space}{listed}{space})"
    )


@given(st.lists(terms, max_size=5), st.sampled_from(["", " ", "  "]))
def test_a_selector_that_is_written_down_is_read_as_it_was(chosen: list[Term], space: str) -> None:
    text = f"{space},{space}".join(written(term, space) for term in chosen)
    assert parse(text) == Selector(tuple(chosen))


@given(terms, st.dictionaries(keys, values))
def test_a_term_and_its_opposite_choose_everything_once(term: Term, labels: dict[str, str]) -> None:
    opposite = {"exists": "absent", "absent": "exists", "in": "notin", "notin": "in"}[term.operator]
    other = Term(term.key, opposite, term.values)  # type: ignore[arg-type]
    assert term.holds(labels) != other.holds(labels)


@given(st.lists(terms, max_size=4), st.dictionaries(keys, values))
def test_more_terms_choose_less(chosen: list[Term], labels: dict[str, str]) -> None:
    every = Selector(tuple(chosen)).chooses(labels)
    assert every == all(Selector((term,)).chooses(labels) for term in chosen)
