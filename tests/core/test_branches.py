"""Branches in every small world: P8 and no leak, whatever is created, deleted, merged and collected at once.

And the wrong variants of decision 0013 that the explorer must reject.
"""

from __future__ import annotations

import pytest

from tests.core.branch_actors import beginning, collector, creator, deleter, janitor, merger, writer
from tests.core.branch_explorer import Explorer, Found, Scenario, decoded
from virke.core import branching, commit


def explored(scenario: Scenario) -> Found:
    """Search it from `main` with two segments."""
    registers, contents = beginning()
    return Explorer(scenario, registers, contents, janitor).run()


BORN = (creator("main", "dev"), writer("dev", "w0"))
COMPACTED = (merger("main", "m0"), collector("main", "gc0"))
SCENARIOS = {
    "merge and collect": Scenario((), (creator("main", "dev"), merger("main"), collector("main"))),
    "as of, write and merge": Scenario(
        (writer("main", "w0"),), (creator("main", "dev", version=3), merger("main"), collector("main"))
    ),
    "old branch, merge, collect twice": Scenario(
        (creator("main", "dev"),), (merger("main"), collector("main"), collector("main", "gc2"))
    ),
    "branch works": Scenario(BORN, (merger("dev"), collector("dev"), merger("main"), collector("main"))),
    "creation killed or late": Scenario(
        (), (creator("main", "dev"), collector("main"), merger("main")), kills=1, late=True
    ),
    "delete": Scenario((*BORN, *COMPACTED), (deleter("dev"), collector("main"), writer("dev")), kills=1),
    "delete against child": Scenario(BORN, (deleter("dev"), creator("dev", "kid"), collector("main")), kills=1),
    "child of branch": Scenario(
        (*BORN, creator("dev", "kid"), writer("kid")),
        (merger("main"), collector("main"), merger("dev"), collector("dev")),
    ),
    "child lives, branch deleted": Scenario(
        (*BORN, creator("dev", "kid")), (deleter("dev"), merger("main"), collector("main")), kills=1
    ),
    "delete and create again": Scenario(
        BORN, (deleter("dev"), creator("main", "dev", "c2"), writer("dev"), collector("main")), kills=0
    ),
    "delete, walk alone": Scenario(
        (*BORN, *COMPACTED), (deleter("dev"), collector("main", lists=False), writer("main"))
    ),
}

def once(patch: pytest.MonkeyPatch) -> None:
    """Decode every record once only."""
    for module in (branching, commit):
        patch.setattr(module, "decode_record", decoded)


if __name__ == "__main__":
    import sys, time
    patch = pytest.MonkeyPatch(); once(patch)
    for name, scenario in SCENARIOS.items():
        if len(sys.argv) > 1 and sys.argv[1] not in name: continue
        t = time.time()
        try:
            f = explored(scenario)
            print(f"{name:40s} {f.states:8d} {f.ends:7d} {time.time()-t:6.1f}s", flush=True)
        except AssertionError as e:
            print(name, "VIOLATION", e, flush=True)
