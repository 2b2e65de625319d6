"""`virke deploy --target fastly`: a project as services of Fastly, with its database in a KV store there.

Knows a project and the order of the steps; how a service is made is said in `virke.edge.deploying`, how a database is in `deploy`.

1. Migrations are rehearsed before anything is made: on the database as it is, or on one in memory.
2. Each step looks for what is there before it makes it, so it can be run again at any time, and after being killed anywhere.
3. A rehearsal changes nothing. Without a token it asks nothing either, and says what a first deployment does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Final

from virke.config import MIGRATIONS, TOKEN_VARIABLE, Config, StoreChoice, is_node, load_config, scheme_of, store_urls
from virke.edge.deploying.account import API, API_VARIABLE, TOKEN_HINT, Account, Call
from virke.edge.deploying.database import bring_app, bring_database, configure_stores, first_token
from virke.edge.deploying.package import Package, read_package
from virke.edge.deploying.patience import Patience
from virke.edge.deploying.services import Brought
from virke.edge.deploying.settings import Settings, backend_of, objects_of
from virke.edge.deploying.stores import KV, ensure_store, found_store
from virke.errors import Denied, Unavailable, UsageError
from virke.lazy_dataclasses import dataclass
from virke.opening import open_store
from virke.project.building import BIN, PKG, build_changed, plan_of
from virke.project.deploy import Deployed, Report, deploy_database
from virke.project.destination import Destination
from virke.project.seed import Seed, seed_of
from virke.stores.fastly_kv.store import FASTLY_SCHEME
from virke.stores.fastly_kv.store import TOKEN_VARIABLE as API_TOKEN_VARIABLE
from virke.stores.object.url import object_place

STAMPS: Final = (".main.wasm.inputs", ".app.wasm.inputs")
"""What `virke build` leaves in `bin`: a package without one of them comes from elsewhere, and is taken as it is."""
UPKEEP_EVERY: Final = "*/10 * * * *"
APP: Final = "-app"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be deployed. `kv_id`: the KV store, if the configuration names one."""

    name: str
    folder: Path
    settings: Settings
    is_two: bool
    """Whether the app is a service of its own, beside the database's."""
    objects_url: str = ""
    store_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    kv_id: str | None = None
    service_id: str | None = None
    memory_mb: int | None = None
    seed: Seed | None = None

    @property
    def stores_name(self) -> str:
        """What the stores in the account are called."""
        return f"virke-{self.name}"

    @property
    def serves_database(self) -> bool:
        """Whether the database's service answers its routes, so that clients need a token."""
        return self.is_two or self.settings.has_api


@dataclass(slots=True)
class Done:
    """What was done, or would be."""

    url: str
    deployed: Deployed | None = None
    services: list[Brought] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    token: str | None = None
    kv_name: str = ""

    @property
    def is_change(self) -> bool:
        """Whether anything was done, or would be."""
        return bool(self.calls) or (self.deployed is not None and self.deployed.is_change) or self.token is not None


def job_of(config: Config, name: str, option: str | None, *, token: str | None, memory_mb: int | None) -> Job:
    """What a configuration asks for; `name` is the database, `option` the store that the command line names. Raises `UsageError`."""
    plan = plan_of(config)
    kv_id, objects_url = _places_of_data(config, option)
    objects = None
    if objects_url:
        place = object_place(objects_url, config.store_options)
        if place.scheme != "s3":
            raise UsageError(f"{objects_url}: the edge reads object storage that speaks S3: s3://BUCKET/PREFIX")
        objects = objects_of(place.bucket, place.prefix, place.client, os.environ)
    writes = config.edge.get("writes")
    if writes is not None:
        backend_of("writes", writes)
    is_two = plan.entry is not None and plan.app is None
    settings = Settings(
        name,
        has_api=plan.app is None or config.edge.get("api") == "true",
        objects=objects,
        writes=writes,
        writes_token=(token or os.environ.get(TOKEN_VARIABLE) or config.edge.get("writes_token")) if writes else None,
    )
    options = {key: value for key, value in config.store_options.items() if key != "token"}
    return Job(
        plan.name,
        config.folder,
        settings,
        is_two,
        objects_url,
        options,
        kv_id,
        config.deploy.get("service"),
        memory_mb,
        seed_of(config),
    )


def account_of(
    config: Config, report: Callable[[Call], None], *, is_rehearsal: bool, patience: Patience | None = None
) -> Account:
    """The account of the token that is known. Raises `Denied`: none is. `UsageError`: the API's address is not one."""
    token = os.environ.get(API_TOKEN_VARIABLE) or config.store_options.get("fastly_api_token", "")
    if not token and not is_rehearsal:
        raise Denied("deploying to Fastly needs an API token", hint=TOKEN_HINT)
    api = os.environ.get(API_VARIABLE) or API
    server = backend_of("api", api)
    if not server.is_tls and server.host not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError(f"{API_VARIABLE} must be https://…, or the token could be read on its way")
    return Account(token, report, api=api.rstrip("/"), is_rehearsal=is_rehearsal, patience=patience)


def deploy_to_fastly(job: Job, account: Account, done: Done, *, report: Report, say: Callable[[str], None]) -> None:
    """Deploy; what was done is in `done` also if an error ends it.

    Raises:
        VirkeError: as `Account.change`, and as `deploy` of a database.
    """
    packages = _packages_of(job, say, is_rehearsal=account.is_rehearsal)
    migrations = job.folder / MIGRATIONS
    take = partial(deploy_database, job.settings.database, folder=migrations, seed=job.seed, memory_mb=job.memory_mb)
    done.kv_name = job.stores_name
    known = job.kv_id or found_store(account, KV, job.stores_name)
    if known is None:
        scratch = Destination("store", StoreChoice(f"memory://virke-rehearsal-{os.getpid()}"))
        quiet: Report = report if account.is_rehearsal else lambda verb, what: None
        done.deployed = take(scratch, dry_run=True, report=quiet)
        known = ensure_store(account, KV, job.stores_name)
        _wait_for(account, known)
    done.url = ",".join(filter(None, [_kv_url(known), job.objects_url]))
    where = Destination("store", StoreChoice(done.url, job.store_options))
    can_ask = "{" not in known and (not account.is_rehearsal or account.has_token)
    if can_ask:
        done.deployed = take(where, dry_run=account.is_rehearsal, report=report)
    tokens_of = open_store(where.store) if can_ask else None
    if tokens_of is not None and job.serves_database and not account.is_rehearsal:

        def show(text: str) -> None:
            done.token = text
            report("a token to ask the database, shown only now:", text)

        first_token(tokens_of, job.settings.database, show)
    stores = configure_stores(account, known, job.stores_name, job.settings)
    own_name = f"{job.name}-db" if job.is_two else job.name
    database = bring_database(account, stores, job.settings, packages[0], name=own_name, service_id=job.service_id)
    done.services.append(database)
    if job.is_two:
        done.services.append(
            bring_app(
                account,
                stores,
                database,
                packages[1],
                name=job.name,
                tokens_of=tokens_of,
                database_name=job.settings.database,
            )
        )


def cron_line(job: Job, url: str) -> str:
    """A line of a crontab that keeps the database in shape."""
    return f"{UPKEEP_EVERY} virke db upkeep --all --db {job.settings.database} --store '{url}'"


def package_paths(job: Job) -> list[Path]:
    """The database's package, and the app's if that is another."""
    own = job.folder / PKG / f"{job.name}.tar.gz"
    return [own, own.with_name(f"{job.name}{APP}.tar.gz")] if job.is_two else [own]


def _packages_of(job: Job, say: Callable[[str], None], *, is_rehearsal: bool) -> list[Package]:
    """The packages, built if they are missing or older than their sources."""
    paths = package_paths(job)
    is_ours = any((job.folder / BIN / stamp).exists() for stamp in STAMPS)
    if not is_rehearsal and (is_ours or not all(path.exists() for path in paths)):
        build_changed(plan_of(load_config(job.folder)), say)
    if is_rehearsal:
        return [read_package(path) if path.exists() else Package(path.name, b"", "", "") for path in paths]
    return [read_package(path) for path in paths]


def _places_of_data(config: Config, option: str | None) -> tuple[str | None, str]:
    """The id of the KV store, if one is named, and the URL of object storage ("": none)."""
    text = option or config.store or ""
    urls = store_urls(text) if text else []
    kv = [url for url in urls if scheme_of(url)[0] == FASTLY_SCHEME]
    if option and (is_node(option) or not kv):
        raise UsageError(
            f"{option} is not a KV store of Fastly, and a service there reads no other",
            hint="leave --store out: the KV store is found by its name, or made",
        )
    objects = config.edge.get("objects") or next((url for url in urls if kv and url not in kv), "")
    if not kv:
        return None, objects
    kv_id, _, rest = scheme_of(kv[0])[1].removeprefix("//").partition("/")
    if rest.partition("?")[0].strip("/"):
        raise UsageError(f"{kv[0]}: a service reads a KV store from its top; name it without a prefix")
    return kv_id.partition("?")[0], objects


def _kv_url(kv_id: str) -> str:
    api = os.environ.get(API_VARIABLE, API).rstrip("/")
    return f"{FASTLY_SCHEME}://{kv_id}" + ("" if api == API else f"?api={api}")


def _wait_for(account: Account, kv_id: str) -> None:
    """Wait until a KV store that was just made takes requests. Raises `Unavailable`."""
    if account.is_rehearsal:
        return
    for _ in account.patience.attempts():
        if account.read(f"{KV}/{kv_id}/keys", limit="1") is not None:
            return
    raise Unavailable("the KV store was made and does not take requests yet", hint="run it again in a minute")
