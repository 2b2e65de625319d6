"""Rebuilds the table that orders refer to: longer names that are unique, and points that are never NULL."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("shop", "0001_initial"),)
    operations = (
        migrations.AlterField("Customer", "name", models.CharField(max_length=50, unique=True)),
        migrations.AlterField("Customer", "points", models.PositiveIntegerField(default=0)),
    )
