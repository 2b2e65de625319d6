"""Which word was meant."""

from __future__ import annotations

import pytest

from virke.nearest import WORDS_MAX, meant_hint, nearest_word

WORDS = ["users", "user_roles", "orders", "Items", "a"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("user", "users"),
        ("suers", "users"),
        ("USERS", "users"),
        ("oders", "orders"),
        ("item", "Items"),
        ("userroles", "user_roles"),
        ("b", None),
        ("ab", None),
        ("nothing", None),
        ("", None),
        ("u" * 100, None),
    ],
)
def test_a_word_is_like_another_in_two_thirds_of_its_characters(word: str, expected: str | None) -> None:
    assert nearest_word(word, WORDS) == expected


def test_a_hint_is_there_only_if_a_word_is_like_it() -> None:
    assert meant_hint("oders", WORDS) == {"hint": "did you mean 'orders'?"}
    assert meant_hint("nothing", WORDS) == {}


def test_the_words_that_are_looked_at_have_a_bound() -> None:
    assert nearest_word("users", ["x"] * WORDS_MAX + ["users"]) is None
