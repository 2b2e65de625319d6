"""Alembic: autogenerate finds what changed and nothing else, and batch mode rewrites tables, embedded and on a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    inspect,
    text,
)

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=context.config.attributes["metadata"], render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
TEMPLATE = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
def upgrade():
    ${upgrades if upgrades else "pass"}
def downgrade():
    ${downgrades if downgrades else "pass"}
'''


def models(*, later: bool) -> MetaData:
    """The tables of a program, and those of its next version."""
    metadata = MetaData()
    Table("shop", metadata, Column("id", Integer, primary_key=True), Column("city", String(40), nullable=False))
    columns: list[Any] = [
        Column("id", Integer, primary_key=True),
        Column("name", String(60 if later else 40), nullable=not later),
        Column("shop_id", ForeignKey("shop.id", name="fk_item_shop")),
    ]
    if later:
        columns += [Column("price", Numeric(8, 2), server_default="0"), CheckConstraint("price >= 0", name="ck_price")]
    else:
        columns += [Column("old", Integer)]
    item = Table("item", metadata, *columns)
    if later:
        Index("ix_item_name", item.c.name, unique=True)
        Table("extra", metadata, Column("id", Integer, primary_key=True))
    return metadata


def configured(folder: Path, url: str, metadata: MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes |= {"url": url, "metadata": metadata}
    return config


def differences(engine: Engine, metadata: MetaData) -> list[Any]:
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_autogenerate_and_batch_migrations_go_forth_and_back(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "alembic"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "script.py.mako").write_text(TEMPLATE)
    first, second = models(later=False), models(later=True)
    engine = create_engine(url)

    command.revision(configured(folder, url, first), "first", autogenerate=True, rev_id="a1")
    command.upgrade(configured(folder, url, first), "head")
    assert differences(engine, first) == []
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO shop VALUES (1, 'Oslo')"))
        connection.execute(text("INSERT INTO item VALUES (1, 'tea', 1, 7), (2, 'jam', 1, 8)"))

    command.revision(configured(folder, url, second), "second", autogenerate=True, rev_id="a2")
    assert "batch_alter_table('item'" in next(folder.glob("versions/a2_*.py")).read_text()
    command.upgrade(configured(folder, url, second), "head")
    assert differences(engine, second) == []
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, name, shop_id, price FROM item ORDER BY id")).all()
        assert [tuple(row) for row in rows] == [(1, "tea", 1, 0), (2, "jam", 1, 0)]
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "a2"
    found = inspect(engine)
    assert [key["name"] for key in found.get_foreign_keys("item")] == ["fk_item_shop"]

    command.downgrade(configured(folder, url, first), "a1")
    assert differences(engine, first) == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM item")) == 2
    engine.dispose()
