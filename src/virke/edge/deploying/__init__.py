"""What `virke deploy --target fastly` asks of Fastly's REST API: stores, secrets, services and their versions.

Knows no `virke.toml`, no migrations and no command; `virke.project.fastly` does.
"""
