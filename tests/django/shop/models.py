"""A customer and their orders."""

from __future__ import annotations

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=50, unique=True)
    points = models.PositiveIntegerField(default=0)


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    price = models.DecimalField(max_digits=8, decimal_places=2)
    placed = models.DateTimeField()
    details = models.JSONField(default=dict)
    receipt = models.BinaryField(null=True)
