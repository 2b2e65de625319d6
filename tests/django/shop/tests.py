"""What Django's own runner runs of this app, on throw-away databases (`test_django.py` starts it)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from statistics import pstdev
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import TruncMonth
from django.test import TestCase, TransactionTestCase
from django.utils import timezone

from tests.django.shop.models import Customer, Order


def placed(year: int, month: int) -> dt.datetime:
    return dt.datetime(year, month, 3, 4, 5, 6, 789, tzinfo=dt.UTC)


class Queries(TestCase):
    def setUp(self) -> None:
        self.ada, self.bob = (Customer.objects.create(name=name, points=1) for name in ("Ada", "Bob"))
        for price, month in (("1.50", 1), ("2.25", 1), ("9.99", 2)):
            Order.objects.create(
                customer=self.ada, price=Decimal(price), placed=placed(2026, month), details={"bags": [month]}
            )

    def test_the_database_is_a_throw_away_one(self) -> None:
        assert connection.settings_dict["NAME"].startswith("memory://django-test-default")

    def test_values_come_back_as_they_went_in(self) -> None:
        Order.objects.update(receipt=b"\x00\xff")
        order = Order.objects.order_by("id").first()
        assert order is not None
        found: Any = (order.price, order.placed, order.details, bytes(order.receipt))
        assert found == (Decimal("1.50"), placed(2026, 1), {"bags": [1]}, b"\x00\xff")

    def test_functions_of_djangos_own(self) -> None:
        months = Order.objects.annotate(month=TruncMonth("placed")).values("month").annotate(sum=models.Sum("price"))
        assert [row["sum"] for row in months.order_by("month")] == [Decimal("3.75"), Decimal("9.99")]
        assert Customer.objects.get(name__regex="^B.b$") == self.bob
        spread = Order.objects.aggregate(spread=models.StdDev("price"))["spread"]
        assert float(spread) == pytest.approx(pstdev((1.5, 2.25, 9.99)))

    def test_json_is_searched(self) -> None:
        assert Order.objects.filter(details__bags__0=2).count() == 1

    def test_rows_are_inserted_many_at_once_and_updated_on_conflict(self) -> None:
        made = Customer.objects.bulk_create(Customer(name=f"c{n}") for n in range(2000))
        assert len({one.pk for one in made}) == 2000
        again = [Customer(name="c1", points=7), Customer(name="new", points=8)]
        Customer.objects.bulk_create(again, update_conflicts=True, unique_fields=["name"], update_fields=["points"])
        assert Customer.objects.filter(points__gt=6).count() == 2

    def test_many_rows_by_a_cursor_lose_none(self) -> None:
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO shop_customer (name, points) VALUES (%s, %s)", iter([("x", 1), ("y%", 2)]))
            cursor.executemany(
                "INSERT INTO shop_customer (name, points) VALUES (%(name)s, 3)", [{"name": "z"}, {"name": "u"}]
            )
            cursor.execute("SELECT name FROM shop_customer WHERE name LIKE 'y%%' AND points = %s", [2])
            assert cursor.fetchall() == [("y%",)]
        assert Customer.objects.count() == 6

    def test_what_breaks_a_rule_is_undone_alone(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            Customer.objects.create(name="Ada")
        assert Order.objects.count() == 3


class Transactions(TransactionTestCase):
    def test_savepoints_and_what_rolls_back(self) -> None:
        with transaction.atomic():
            Customer.objects.create(name="stays")
            mark = transaction.savepoint()
            Customer.objects.create(name="goes")
            transaction.savepoint_rollback(mark)
        with pytest.raises(IntegrityError), transaction.atomic():
            Customer.objects.bulk_create([Customer(name="goes too"), Customer(name="stays")])
        assert [one.name for one in Customer.objects.all()] == ["stays"]

    def test_a_foreign_key_is_checked_at_the_end_of_its_transaction(self) -> None:
        order = Order(customer_id=999, price=1, placed=timezone.now())
        with pytest.raises(IntegrityError), transaction.atomic():
            order.save()
        assert Order.objects.count() == 0
        with transaction.atomic():
            order.save()
            with pytest.raises(IntegrityError, match="has an invalid foreign key"):
                connection.check_constraints()
            order.delete()

    def test_commit_hooks_run_after_the_commit(self) -> None:
        seen: list[bool] = []
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append(connection.in_atomic_block))
            Customer.objects.create(name="one")
        assert seen == [False]

    def test_the_schema_goes_back_and_forth_under_rows(self) -> None:
        ada = Customer.objects.create(name="Ada")
        Order.objects.create(customer=ada, price=1, placed=timezone.now())
        for target in ("0001", "0002"):
            call_command("migrate", "shop", target, verbosity=0)
            assert (Customer.objects.count(), Order.objects.count()) == (1, 1)
