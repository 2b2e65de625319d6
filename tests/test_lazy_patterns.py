"""Patterns that are compiled at the first use do what `re`'s do."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

import pytest

from virke import lazy_patterns
from virke.lazy_patterns import METHODS, pattern

STARTS: Final = ("from virke import connect", "from virke.cli import db_sql, main\nfrom virke import connect")
COUNT: Final = """
import re, sys
from re import _compiler
compile, ours = _compiler.compile, []
def counted(*arguments):
    frame = sys._getframe()
    while frame.f_globals["__name__"].partition(".")[0] in ("re", "__main__"):
        frame = frame.f_back
    ours.append(frame.f_globals["__name__"])
    return compile(*arguments)
_compiler.compile = counted
{start}
print(*sorted(name for name in ours if name.partition(".")[0] == "virke"))
"""


@pytest.mark.parametrize("method", ["match", "fullmatch", "search", "findall", "split"])
def test_a_method_is_that_of_the_pattern(method: str) -> None:
    later, now = pattern("(a)|b", re.IGNORECASE), re.compile("(a)|b", re.IGNORECASE)
    for text in ("A", "xb", "", "abAB"):
        assert str(getattr(later, method)(text)) == str(getattr(now, method)(text))


def test_it_is_compiled_once_and_at_the_first_use() -> None:
    later = pattern("a+")
    assert METHODS[0] not in vars(later)
    assert later.sub("b", "caat") == "cbt"
    assert later.sub is later.sub
    assert set(METHODS) <= vars(later).keys()


def test_what_patterns_do_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = pattern("a").nothing  # type: ignore[attr-defined]


def test_a_pattern_that_is_none_is_an_error_at_its_first_use() -> None:
    """Whoever writes one sees it in the first test of it."""
    with pytest.raises(re.error):
        pattern("(").match("")


@pytest.mark.parametrize("start", STARTS)
def test_a_start_compiles_no_pattern_of_ours(start: str) -> None:
    """Budget B12, by patterns instead of time: a thirtieth of a start once."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(start=start)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "\n"


def test_at_the_edge_all_are_compiled_in_the_image() -> None:
    code = (
        "import sys, virke.engine.database, virke.edge.guest.thaw as thaw; from virke.lazy_patterns import Later; thaw.thaw(); "
        "found = [one for name, module in sys.modules.items() if name.startswith('virke') for one in vars(module).values() "
        "if isinstance(one, Later)]; print(len(found) > 5, all('match' in vars(one) for one in found))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True True\n"


def test_type_checkers_see_the_pattern_itself() -> None:
    assert pattern is lazy_patterns.Later  # type: ignore[comparison-overlap]
