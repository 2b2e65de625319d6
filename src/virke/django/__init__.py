"""A database backend for Django: `ENGINE = "virke.django"` (docs/django.md, decision 0028).

Django's own backend for SQLite, on `virke.dbapi`. Django looks for its parts by the names of the modules here, and imports them.
"""
