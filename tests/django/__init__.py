"""A project of Django, run as one: `manage.py`, its own test runner, processes."""
