"""The metrics of several workers as one text: each sample says whose it is.

Pure: knows Prometheus' text form, no process.

1. A family stands there once, with the samples of all workers, each with the label `worker`. Nothing is added up: who reads them
   does that, and sees the one that is different.
"""

from __future__ import annotations

from collections.abc import Mapping


def merged_metrics(texts: Mapping[int, bytes]) -> bytes:
    """One text of those of several workers."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, text in texts.items():
        family = ""
        for line in text.decode().splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                if family not in heads:
                    heads[family], samples[family] = [line], []
            elif line.startswith("#"):
                if line not in heads[family]:
                    heads[family].append(line)
            elif line:
                samples[family].append(_labelled_sample(line, worker))
    found = [line for family, head in heads.items() for line in (*head, *samples[family])]
    return "\n".join([*found, ""]).encode()


def _labelled_sample(sample: str, worker: int) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
