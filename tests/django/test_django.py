"""`virke.django`: a project of Django runs on a store and on a node, and its tests on databases that are thrown away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

import virke
from tests.servers.node import node

pytestmark = pytest.mark.once
ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"local:{tmp_path / 'store'}"


@pytest.fixture(params=["store", "node"])
def where(request: pytest.FixtureRequest, store: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a store, and of a node."""
    if request.param == "store":
        yield store
        return
    with node(store, tmp_path) as running:
        yield running.url


def manage(where: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with these words."""
    done = subprocess.run(
        [sys.executable, "-m", "django", *words],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.django.settings", "SHOP_STORE": where, "SHOP_DB": "shop"},
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


BEGINNING: Final = """
import io, json
from datetime import datetime, timezone
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, NotSupportedError, connection, transaction
from tests.django.shop.models import Customer, Order

def command(*words):
    call_command(*words, stdout=(out := io.StringIO()), verbosity=0)
    return out.getvalue()

placed = datetime(2026, 1, 2, 3, 4, 5, 6000, timezone.utc)
"""


def ran(where: str, program: str) -> Any:
    """What a program of the project prints as JSON: it starts one process, which is what takes the time here."""
    return json.loads(manage(where, "shell", "--no-imports", "--command", BEGINNING + program).stdout)


def test_djangos_runner_makes_databases_and_throws_them_away(store: str, tmp_path: Path) -> None:
    """Also one for each of two processes; the database of the settings is not touched, nor made."""
    done = manage(store, "test", "tests.django.shop", "--parallel", "2")
    assert "\nOK\n" in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["shop", "test_shop"])
def test_the_runner_refuses_every_other_database(store: str, name: str) -> None:
    with virke.create(name, store) as database:
        database.execute("CREATE TABLE kept (a)")
    program = f"""
connection.settings_dict["TEST"]["NAME"] = {name!r}
refused = []
for call in (lambda: connection.creation.create_test_db(verbosity=0),
             lambda: connection.creation.clone_test_db("1", verbosity=0),
             lambda: connection.creation.destroy_test_db({name!r}, verbosity=0)):
    try:
        call()
    except Exception as error:
        refused.append([type(error).__name__, "is not a throw-away database" in str(error)])
print(json.dumps(refused))
"""
    assert ran(store, program) == [["ImproperlyConfigured", True]] * 3
    with virke.connect(name, store) as database:
        assert [entry.name for entry in database.schema()] == ["kept"]


def test_tables_are_rebuilt_under_the_rows_that_refer_to_them(where: str) -> None:
    program = """
command("migrate", "shop", "0001")
with connection.cursor() as cursor:
    cursor.executemany("INSERT INTO shop_customer (name, points) VALUES (%s, 3)", [("Ada",), ("Bob",)])
with transaction.atomic():
    for n in range(6):
        Order.objects.create(customer_id=1 + n % 2, price=n, placed=placed)
before = command("dumpdata", "shop.order")
command("migrate")
found = {"orders": Order.objects.count(), "same": command("dumpdata", "shop.order") == before}
with connection.cursor() as cursor:
    cursor.execute("PRAGMA foreign_keys"); found["keys"] = cursor.fetchone()[0]
    cursor.execute("PRAGMA foreign_key_check"); found["broken"] = cursor.fetchall()
    cursor.execute("PRAGMA integrity_check"); found["whole"] = cursor.fetchall()
try:
    with transaction.atomic():
        Customer.objects.create(name="Ada")
except IntegrityError as error:
    found["unique"] = str(error)
print(json.dumps(found))
"""
    assert ran(where, program) == {
        "orders": 6,
        "same": True,
        "keys": 1,
        "broken": [],
        "whole": [["ok"]],
        "unique": "UNIQUE constraint failed: shop_customer.name",
    }


def test_data_goes_out_and_in(where: str, tmp_path: Path) -> None:
    program = f"""
command("migrate")
ada = Customer.objects.create(name="Ada \u2603", points=2)
for n in range(20):
    Order.objects.create(customer=ada, price="0.10", placed=placed, details={{"n": n}})
dump = command("dumpdata", "shop")
with open({str(tmp_path / "dump.json")!r}, "w") as file:
    file.write(dump)
found = [Customer.objects.all().delete()[0]]
command("loaddata", file.name)
found.append(command("dumpdata", "shop") == dump)
models = command("inspectdb")
found += ["customer = models.ForeignKey(ShopCustomer" in models, "irke" in models]
command("flush", "--no-input")
print(json.dumps([*found, Order.objects.count()]))
"""
    assert ran(where, program) == [21, True, True, False, 0]


def test_dbshell_runs_statements_and_scripts(where: str) -> None:
    virke.create("shop", where).close()
    manage(where, "dbshell", stdin="CREATE TABLE kept (name); INSERT INTO kept VALUES ('Ada');")
    assert "Ada" in manage(where, "dbshell", "--", "SELECT name FROM kept").stdout


def test_two_processes_lose_no_update(store: str) -> None:
    """Each reads and writes in its transactions, which are first in line from their beginning (`IMMEDIATE`)."""
    ran(store, "command('migrate')\nprint(Customer.objects.create(name='Ada').pk)")
    code = """
connection.settings_dict["OPTIONS"].update(transaction_mode="IMMEDIATE", timeout=60)
for n in range(40):
    with transaction.atomic():
        ada = Customer.objects.get(name="Ada")
        ada.points += 1
        ada.save()
print(connection.settings_dict["OPTIONS"]["timeout"])
"""
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: ran(store, code), range(2))) == [60, 60]
    assert ran(store, "print(Customer.objects.get(name='Ada').points)") == 80


def test_a_transaction_that_lost_a_race_leaves_nothing_and_is_run_again(where: str) -> None:
    program = """
from copy import deepcopy
from django.db import ConnectionHandler, OperationalError
command("migrate")
Customer.objects.create(name="Ada")
other = ConnectionHandler({"default": deepcopy(connection.settings_dict)})["default"]

def add(between):
    with transaction.atomic():
        ada = Customer.objects.get(name="Ada")
        between()
        ada.points += 1
        ada.save()

def meanwhile():
    with other.cursor() as cursor:
        cursor.execute("UPDATE shop_customer SET points = points + 10")

found = []
try:
    add(meanwhile)
except OperationalError as error:
    found.append("database is locked" in str(error))
found.append(Customer.objects.get(name="Ada").points)
add(lambda: None)
found.append(Customer.objects.get(name="Ada").points)
other.close()
print(json.dumps(found))
"""
    assert ran(where, program) == [True, 10, 11]


def test_on_a_node_functions_of_djangos_own_are_refused_by_name(store: str, tmp_path: Path) -> None:
    program = """
command("migrate")
found = []
Customer.objects.create(name="Ada")
for query in (
    Customer.objects.filter(name__regex="^A"),
    Customer.objects.filter(name__iregex="^a"),
    Order.objects.filter(placed__week=3),
):
    try:
        found.append(query.count())
    except DatabaseError as error:
        found.append(str(error).split(", ")[0])
print(json.dumps([*found, Order.objects.filter(placed__year=2026).count()]))
"""
    with node(store, tmp_path) as running:
        found = ran(running.url, program)
    assert found == [1, "'?' without operand in the pattern of REGEXP", "this query needs django_datetime_extract()", 0]


def test_settings_that_mean_nothing_are_errors(store: str) -> None:
    program = """
from copy import deepcopy
from django.db import ConnectionHandler
found = []
for part, key, value in (("OPTIONS", "stoer", "x"), ("OPTIONS", "transaction_mode", "QUICK"), (None, "HOST", "node.example"), (None, "NAME", "")):
    settings = deepcopy(connection.settings_dict)
    (settings[part] if part else settings)[key] = value
    try:
        ConnectionHandler({"default": settings})["default"].ensure_connection()
    except Exception as error:
        found.append([type(error).__name__, str(error)])
print(json.dumps(found))
"""
    kinds, messages = zip(*ran(store, program), strict=True)
    assert set(kinds) == {"ImproperlyConfigured"}
    words = ("has no stoer; it has check_same_thread", "configured to 'QUICK'", "HOST: ", "supply the NAME value")
    assert [word in message for word, message in zip(words, messages, strict=True)] == [True] * 4
