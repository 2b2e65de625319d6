"""The page about PEP 249 is true: its examples run."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "dbapi.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_the_examples_run_from_top_to_bottom() -> None:
    names: dict[str, object] = {}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"docs/dbapi.md, example {number + 1}", "exec"), names)
    assert len(EXAMPLES) == 3
