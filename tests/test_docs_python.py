"""The page about the Python API is true: its examples run, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import virke
from tests.servers.node import node

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


NODE = "http://127.0.0.1:8080"


def test_the_examples_run_from_top_to_bottom(tmp_path: Path) -> None:
    """Each goes on where the one before it ended; what they assert holds. The node of the page is one on a free port."""
    names: dict[str, object] = {}
    with node("local:.virke", tmp_path) as running:
        for number, example in enumerate(EXAMPLES):
            text = example.replace(NODE, running.url)
            exec(compile(text, f"docs/python.md, example {number + 1}", "exec"), names)
    assert len(EXAMPLES) > 5
    assert NODE in PAGE


def test_the_page_names_every_error_that_a_call_raises() -> None:
    """And no name that `virke` does not have."""
    errors = {name for name, home in virke._HOMES.items() if home == "virke.errors"} - {"VirkeError"}
    named = set(re.findall(r"`([A-Z]\w+)`", PAGE))
    assert errors - named == set()
    assert {name for name in named if name[1:].lower() != name[1:]} <= {*virke._HOMES}


def test_every_public_name_is_in_an_example() -> None:
    """Except `fetch_arrow`, which needs a library of others, and which docs/frames.md has."""
    code = "".join(EXAMPLES)
    assert [name for name in virke._HOMES if not re.search(rf"\b{name}\b", code)] == ["fetch_arrow"]
