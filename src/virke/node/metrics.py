"""What a node counts, as Prometheus reads it. The only file that imports prometheus-client.

Knows numbers, and whom to ask for those that others keep; knows no request.

1. A label has a bounded number of values: a route is its pattern, never its path, and no database is named.
2. Counting costs a few additions on the event loop; everything else is done when they are read.
3. A counter goes up only, also when a database is closed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from virke.api.hrana import routes as hrana
from virke.api.table import OF_A_DATABASE, OF_THE_NODE, TAKES_REST
from virke.node.databases import Databases
from virke.node.http.limits import Traffic
from virke.node.page import ROOT, is_page
from virke.node.watching import Watch

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
OTHER: Final = "other"
METHODS: Final = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
GONE: Final = "gone"
"""In place of a status: the client went away before it was answered."""
_OF_A_DATABASE: Final = frozenset(OF_A_DATABASE) | {route + "/{table}" for route in TAKES_REST}
OPEN: Final = "What is open at this moment."
Gauge = Callable[[], float]


def route_of(path: str) -> str:
    """The pattern of a path, which names no database: one of a few dozen."""
    first, *rest = path.removeprefix("/").split("/")
    if first == "db" and rest:
        tail = "/".join(rest[1:])
        if len(rest) == 3 and rest[1] in TAKES_REST:
            tail = f"{rest[1]}/{{table}}"
        is_known = tail in _OF_A_DATABASE or not tail or hrana.is_route(tuple(rest[1:]))
        return "/db/{name}" + (f"/{tail}" if len(rest) > 1 else "") if is_known else OTHER
    if is_page(path):
        return f"{ROOT}{{file}}"
    if first == "tokens" and len(rest) == 1:
        return "/tokens/{id}"
    is_known = (first in OF_THE_NODE and not rest) or path == "/" or hrana.is_route((first, *rest))
    return path if is_known else OTHER


class Histogram:
    """How often which size came."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, size: float, times: int = 1) -> None:
        """Count a size."""
        self.counts[bisect_left(self._bounds, size)] += times
        self.total += size * times

    def buckets(self) -> list[tuple[str, float]]:
        """Bounds, each with how many sizes are at most that."""
        below, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            below += count
            found.append((bound, float(below)))
        return found


class Metrics:
    """The counters of one node."""

    def __init__(self, databases: Databases, watch: Watch) -> None:
        self._databases = databases
        self._watch = watch
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.seconds: dict[str, Histogram] = {}
        self.gauges: dict[tuple[str, str, str], Gauge] = {}
        """By name, kind (a label, or "") and help."""
        self.traffic: Traffic | None = None
        self._registry = CollectorRegistry()
        self._registry.register(_Reader(self))
        ProcessCollector(registry=self._registry)

    def answered(self, method: str, route: str, status: str, seconds: float) -> None:
        """A request was answered, or its client is gone."""
        self.requests[method if method in METHODS else OTHER, route, status] += 1
        histogram = self.seconds.get(route)
        if histogram is None:
            histogram = self.seconds[route] = Histogram(SECONDS)
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def count_traffic(self, traffic: Traffic, open_count: Gauge) -> None:
        """Show what the connections move, and how many are open."""
        self.traffic = traffic
        self.gauge("virke_open", "connections", OPEN, open_count)

    def gauge(self, name: str, kind: str, words: str, read: Gauge) -> None:
        """Show what `read` returns; gauges of one name differ in their kind."""
        self.gauges[name, kind, words] = read

    def text(self) -> bytes:
        """All of them, in Prometheus' text form."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._of_requests()
        yield from self._of_databases()
        yield from self._of_the_store()
        if self.traffic is not None:
            yield from _of_traffic(self.traffic)
        by_name: dict[str, GaugeMetricFamily] = {}
        for (name, kind, words), read in self.gauges.items():
            family = by_name.setdefault(name, GaugeMetricFamily(name, words, labels=["kind"] if kind else []))
            family.add_metric([kind] if kind else [], read())
        yield from by_name.values()

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("virke_requests", "Requests by route.", labels=["method", "route", "status"])
        for labels, count in list(self.requests.items()):
            requests.add_metric(labels, count)
        yield requests
        seconds = HistogramMetricFamily("virke_request_seconds", "From head to answer.", labels=["route"])
        for route, histogram in list(self.seconds.items()):
            seconds.add_metric([route], histogram.buckets(), histogram.total)
        yield seconds
        yield _counter_family(
            "virke_statements", "Statements, by where they ran.", "kind", self._watch.statements.items()
        )

    def _of_databases(self) -> Iterator[Metric]:
        groups, conflicts = self._databases.commits()
        sizes = Histogram(SIZES)
        for size, times in groups.items():
            sizes.add(size, times)
        yield HistogramMetricFamily("virke_commit_writes", "Writes that share a commit.", sizes.buckets(), sizes.total)
        commits = {"group": groups.total(), "transaction": self._watch.transactions}
        yield _counter_family(
            "virke_commits", "Commits: of groups of writes, and of transactions.", "kind", commits.items()
        )
        yield CounterMetricFamily("virke_conflicts", "Commits that lost a race and were tried again.", conflicts)

    def _of_the_store(self) -> Iterator[Metric]:
        calls = self._databases.calls.by_call()
        named: dict[str, Callable[[str], float]] = {
            "requests": lambda call: calls[call].requests,
            "failures": lambda call: calls[call].failures,
            "seconds": lambda call: calls[call].waited_ns / 1e9,
            "bytes_up": lambda call: calls[call].bytes_up,
            "bytes_down": lambda call: calls[call].bytes_down,
        }
        words = {
            "requests": "Calls to the store.",
            "failures": "Calls to the store that failed, or whose answer did not come.",
            "seconds": "Time spent in calls to the store.",
            "bytes_up": "Bytes to the store.",
            "bytes_down": "Bytes from the store.",
        }
        for name, value in named.items():
            pairs = [(call, value(call)) for call in calls]
            yield _counter_family(f"virke_store_{name}", words[name], "call", pairs)


class _Reader(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """As prometheus-client asks for them."""
        return self._metrics.families()

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is shows when it is read."""
        return ()


def _counter_family(name: str, words: str, label: str, values: Iterable[tuple[str, float]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, words, labels=[label])
    for kind, value in list(values):
        family.add_metric([kind], value)
    return family


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    counted: Mapping[str, tuple[str, float]] = {
        "virke_received_bytes": ("Bytes from clients.", traffic.bytes_in),
        "virke_sent_bytes": ("Bytes to clients.", traffic.bytes_out),
    }
    for name, (words, value) in counted.items():
        yield CounterMetricFamily(name, words, value)
    ends = {"opened": traffic.connections, "refused": traffic.refused, "dropped": traffic.dropped}
    words = "Connections: opened; refused for want of room or for what they sent; dropped for being too slow."
    yield _counter_family("virke_connections_total", words, "kind", ends.items())
