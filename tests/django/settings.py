"""Where the project's database is: the test says so in the environment."""

import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tests.django.shop"]
DATABASES = {
    "default": {
        "ENGINE": "virke.django",
        "NAME": os.environ["SHOP_DB"],
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"store": os.environ["SHOP_STORE"], "token": os.environ.get("SHOP_TOKEN"), "create": True},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
