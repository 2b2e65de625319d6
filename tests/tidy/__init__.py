"""The architecture as functions that can fail.

Each rule takes files as `path → text` (paths relative to the repository, with `/`) and returns one line
`path:line: what is wrong` per finding. It sees nothing else, so `test_tidy.py` feeds it the tree and bad snippets alike.

1. An import arrow points down: a module imports only from its own row of `LAYERS` or a row before it.
2. `core` is pure: no I/O, clock, randomness or threads, by import or by builtin.
3. `core`, `engine` and all they reach inside Virke run at the edge: no files, sockets, processes or threads,
   no import inside a function, no third-party library but apsw that the module can't do without.
4. One file imports a third-party library (a package in `IMPORTER_PACKAGES` counts as one).
5. Files, functions and parameter lists have an end.
6. Modules, classes, functions and methods that are public say what they are for.
7. No junk-drawer names, no swallowed errors, no blanket type ignores, no open ends.
8. No text names somebody's machine.
9. ARCHITECTURE.md names every module of `core` and `engine`, and no other.
"""

from __future__ import annotations

from typing import Final

from tests.tidy.arrows import core_is_pure, edge_clean, import_arrows, one_importer
from tests.tidy.reading import Rule
from tests.tidy.rooms import rooms
from tests.tidy.shape import docstrings, no_junk, no_machine, sizes

RULES: Final[dict[str, Rule]] = {
    rule.__name__: rule
    for rule in (import_arrows, core_is_pure, edge_clean, one_importer, sizes, docstrings, no_junk, no_machine, rooms)
}
