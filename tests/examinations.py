"""Examinations by `virke doctor` that repeat less: for servers over HTTP, where what is asserted needs one repetition, not hundreds."""

from __future__ import annotations

import pytest

from virke.doctor import freshness, races


def repeat_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every race one round, and let few writes be looked for. All checks are made, sixteen threads at once."""
    monkeypatch.setattr(races, "ROUNDS", 1)
    monkeypatch.setattr(races, "INCREMENTS", 1)
    monkeypatch.setattr(freshness, "WRITES", 2)
