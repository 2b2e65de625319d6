"""The runtime of a web program: a database for each request, in the framework that the program is written with.

    from virke.runtime import virke

    fire, middleware, Bindings = virke(db="my-app-db")

`app` is where it begins. docs/runtime.md shows each framework.
"""

from __future__ import annotations

from virke.runtime.app import Bindings, Middleware, Runtime, virke
from virke.runtime.binding import VirkeDB
from virke.runtime.request import Request
from virke.runtime.typed import AsyncVirkeDB, SyncVirkeDB

__all__ = ["AsyncVirkeDB", "Bindings", "Middleware", "Request", "Runtime", "SyncVirkeDB", "VirkeDB", "virke"]
