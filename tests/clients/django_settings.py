"""Settings of Django's own tests: those of its `test_sqlite.py`, with `virke.django` in the place of SQLite."""

DATABASES = {alias: {"ENGINE": "virke.django", "NAME": alias} for alias in ("default", "other")}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
