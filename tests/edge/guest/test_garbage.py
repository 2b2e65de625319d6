"""No request pays for the garbage of others: it is looked for after answers."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.edge.serving import edge


def test_p13_no_request_pays_for_what_others_left(component: Path) -> None:
    """Each does the same in a sandbox that is warm, and leaves something: what is left is looked for after one of them."""
    with edge(component, reuse=1000, fuel=True) as app:
        app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, what TEXT)")
        answers, afters = [], []
        for number in range(600):
            said = app.query(f"SELECT nothing_{number % 7} FROM t")
            assert said.status == 400, said.json
            app.host.settle()
            if not said.response.counts.lookups:  # or it asked whether its root and tokens are new
                answers.append(said.response.counts.fuel)
            afters.append(said.response.after.fuel)
    warm = answers[20:]
    print(sorted(warm)[-9:], median(warm), sorted(afters)[-9:], median(afters))
    assert max(warm) < 1.2 * median(warm), sorted(warm)[-5:]
    assert max(afters) > 2 * median(afters), "nothing was ever looked for"
