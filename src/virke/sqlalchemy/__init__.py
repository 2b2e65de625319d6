"""SQLAlchemy on Virke's databases: `sqlite+virke` and, with asyncio, `sqlite+aiovirke` (docs/sqlalchemy.md, decision 0027).

Knows SQLAlchemy and `virke.dbapi`; knows no page, store or node. The dialects are SQLAlchemy's own for SQLite; what differs is
how a URL becomes a connection, and what a schema is.
"""
