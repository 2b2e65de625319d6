"""Schemas are parts of names: what is rewritten, and what is not."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    select,
    text,
)

from virke.sqlalchemy.schemas import rewritten_sql

SCHEMAS = frozenset({"hr", 'a"b'})
REWRITTEN = [
    ("SELECT hr.t.id FROM hr.t", 'SELECT "hr.t".id FROM "hr.t"'),
    ('SELECT 1 FROM "hr"."t x"', 'SELECT 1 FROM "hr.t x"'),
    ("SELECT 1 FROM [hr].`t`", 'SELECT 1 FROM "hr.t"'),
    ("SELECT 1 FROM hr /* c */ . t", 'SELECT 1 FROM  /* c */  "hr.t"'),
    ('SELECT 1 FROM "a""b".t', 'SELECT 1 FROM "a""b.t"'),
    ("CREATE UNIQUE INDEX IF NOT EXISTS hr.i ON t (a)", 'CREATE UNIQUE INDEX IF NOT EXISTS "hr.i" ON "hr.t" (a)'),
    ("CREATE TABLE hr.t (a REFERENCES p (id))", 'CREATE TABLE "hr.t" (a REFERENCES "hr.p" (id))'),
    (
        "CREATE TABLE hr.t (a, FOREIGN KEY (a) REFERENCES p)",
        'CREATE TABLE "hr.t" (a, FOREIGN KEY (a) REFERENCES "hr.p")',
    ),
    ("CREATE TABLE t (a REFERENCES p (id))", "CREATE TABLE t (a REFERENCES p (id))"),
    ("ALTER TABLE hr.t RENAME TO u", 'ALTER TABLE "hr.t" RENAME TO "hr.u"'),
    ("ALTER TABLE hr.t RENAME COLUMN a TO b", 'ALTER TABLE "hr.t" RENAME COLUMN a TO b'),
    ("DROP INDEX hr.i", 'DROP INDEX "hr.i"'),
    ("PRAGMA hr.table_info(t)", 'PRAGMA main.table_info("hr.t")'),
    ('PRAGMA "hr".index_info("sqlite_autoindex_hr.t_1")', 'PRAGMA main.index_info("sqlite_autoindex_hr.t_1")'),
    ("SELECT 'hr.t', \"hr.t\", hr -- hr.t\n", "SELECT 'hr.t', \"hr.t\", hr -- hr.t\n"),
    ("SELECT x.hr.t, other.t", "SELECT x.hr.t, other.t"),
]


@pytest.mark.parametrize(("sql", "expected"), REWRITTEN)
def test_names_of_schemas_become_names_of_tables(sql: str, expected: str) -> None:
    assert rewritten_sql(sql, SCHEMAS) == expected


def test_a_schema_is_made_used_reflected_and_dropped(engine: Engine) -> None:
    """Beside a table of the same name that is in no schema, in one transaction."""
    engine = create_engine(engine.url.update_query_dict({"schemas": "hr,sales"}))
    metadata = MetaData()
    plain = Table("person", metadata, Column("id", Integer, primary_key=True), Column("name", String))
    person = Table("person", metadata, Column("id", Integer, primary_key=True), Column("name", String(9)), schema="hr")
    task = Table(
        "task",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("person", ForeignKey("hr.person.id"), index=True),
        schema="hr",
    )
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(plain.insert(), [{"name": "plain"}])
        connection.execute(person.insert(), [{"name": "Ada"}, {"name": "Bo"}])
        connection.execute(task.insert(), [{"person": 2}])
        joined = select(person.c.name, task.c.id).join(task)
        assert connection.execute(joined).all() == [("Bo", 1)]
        assert connection.execute(text("SELECT count(*) FROM hr.person")).scalar() == 2
        assert connection.execute(select(plain.c.name)).scalars().all() == ["plain"]
    found = inspect(engine)
    assert found.get_schema_names() == ["main", "hr", "sales"]
    assert found.get_table_names() == ["person"]
    assert found.get_table_names("hr") == ["person", "task"]
    assert found.get_table_names("sales") == []
    [key] = found.get_foreign_keys("task", "hr")
    assert (key["referred_schema"], key["referred_table"]) == ("hr", "person")
    assert [index["name"] for index in found.get_indexes("task", "hr")] == ["ix_hr_task_person"]
    again = MetaData()
    again.reflect(engine, schema="hr")
    assert sorted(again.tables) == ["hr.person", "hr.task"]
    metadata.drop_all(engine)
    assert inspect(engine).get_table_names("hr") == []
    engine.dispose()
