"""Schemas in one database: the table `orders` of schema `sales` is the table called `sales.orders`.

Pure text. Virke opens no second database next to the first (ATTACH is denied), and a transaction is of one database; so that
models with `schema=` run, and their transactions stay whole, a schema is a part of the name. What SQLite means by
`sales.orders` where `sales` was attached is what it means here.

1. Only the names that an engine declares are schemas; a statement that names none of them is left as it is.
2. An index, a trigger and the keys of a table are of the schema of what they belong to, as SQLite has it.
3. Inside of text, comments and blobs nothing is rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from virke.lazy_dataclasses import dataclass

_TOKEN: Final = re.compile(
    r"""(?P<text>[xX]?'(?:[^']|'')*')
      |(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[^\W\d][\w$]*)
      |(?P<space>\s+)
      |(?P<other>[?:@$][\w$]*|\d[\w.]*|.)""",
    re.DOTALL | re.VERBOSE,
)
_OF_A_TABLE: Final = frozenset({"INDEX", "TRIGGER"})
_MASTERS: Final = frozenset({"sqlite_master", "sqlite_schema"})
_TEMPORARY_MASTERS: Final = frozenset({"sqlite_temp_master", "sqlite_temp_schema"})


@dataclass(slots=True)
class _Token:
    kind: str
    text: str

    @property
    def name(self) -> str:
        """The identifier without its quotes."""
        text = self.text
        match text[0]:
            case '"' | "`":
                return text[1:-1].replace(text[0] * 2, text[0])
            case "[":
                return text[1:-1]
            case _:
                return text

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words of SQL."""
        return self.kind == "name" and self.text.upper() in words


def quoted_name(name: str) -> str:
    """A name as SQLite takes any."""
    return '"' + name.replace('"', '""') + '"'


def joined_name(schema: str, name: str) -> str:
    """What an object of a schema is called; SQLite's own keep their names."""
    return name if name.startswith("sqlite_") else f"{schema}.{name}"


def split_name(name: str, schemas: frozenset[str]) -> tuple[str | None, str]:
    """The schema and the name of what is called so in the database."""
    schema, dot, rest = name.partition(".")
    return (schema, rest) if dot and schema in schemas else (None, name)


@lru_cache(maxsize=1024)
def rewritten_sql(sql: str, schemas: frozenset[str]) -> str:
    """The statement with the names that objects of these schemas have in the database."""
    if not any(quoted_name(schema)[1:-1] in sql for schema in schemas):
        return sql
    tokens = [_Token(found.lastgroup or "other", found[0]) for found in _TOKEN.finditer(sql)]
    solid = [token for token in tokens if token.kind not in ("space", "comment")]
    if solid and solid[0].is_word("PRAGMA"):
        _rewrite_pragma(solid, schemas)
    else:
        _rewrite_names(solid, schemas)
    return "".join(token.text for token in tokens)


def _qualified_places(solid: list[_Token], schemas: frozenset[str]) -> Iterator[int]:
    """Where a name of a schema stands before a dot and a name."""
    for at in range(len(solid) - 2):
        first, dot, last = solid[at : at + 3]
        if (
            first.kind == "name"
            and first.name in schemas
            and dot.text == "."
            and last.kind == "name"
            and (at == 0 or solid[at - 1].text != ".")
        ):
            yield at


def _rewrite_pragma(solid: list[_Token], schemas: frozenset[str]) -> None:
    """`PRAGMA sales.table_info(orders)` is one of main about `sales.orders`."""
    for at in _qualified_places(solid, schemas):
        schema, solid[at].text = solid[at].name, "main"
        for token in solid[at + 3 :]:
            if token.kind in ("name", "text"):
                name = token.text[1:-1] if token.kind == "text" else token.name
                token.text = quoted_name(joined_name(schema, name))
        break


def _rewrite_names(solid: list[_Token], schemas: frozenset[str]) -> None:
    found = list(_qualified_places(solid, schemas))
    if found:
        schema = solid[found[0]].name
        for at in _implied_places(solid, found[0]):
            if at not in found:
                solid[at].text = quoted_name(joined_name(schema, solid[at].name))
    for at in found:
        schema, name = solid[at].name, solid[at + 2].name
        solid[at].text = solid[at + 1].text = ""
        if name.lower() in _MASTERS:
            solid[at + 2].text = _master_query(schema)
        elif name.lower() in _TEMPORARY_MASTERS:
            solid[at + 2].text = "(SELECT * FROM sqlite_master WHERE 0)"
        else:
            solid[at + 2].text = quoted_name(joined_name(schema, name))


def _implied_places(solid: list[_Token], target: int) -> Iterator[int]:
    """Names that stand alone and are of the schema of what is made or changed, which stands at `target`."""
    head = {token.text.upper() for token in solid[:target] if token.kind == "name"}
    if "CREATE" in head and head & _OF_A_TABLE:
        marks: tuple[str, ...] = ("ON",)
    elif "CREATE" in head and "TABLE" in head:
        marks = ("REFERENCES",)
    elif "ALTER" in head:
        marks = ("RENAME", "REFERENCES")
    else:
        return
    for at in range(target + 3, len(solid) - 1):
        if not solid[at].is_word(*marks):
            continue
        name = at + 1
        if solid[at].is_word("RENAME"):
            if not solid[name].is_word("TO") or name + 1 >= len(solid):
                continue
            name += 1
        if solid[name].kind == "name" and not (name + 1 < len(solid) and solid[name + 1].text == "."):
            yield name
        if "ON" in marks:
            return


def _master_query(schema: str) -> str:
    """The objects of one schema, as `sqlite_master` of an attached database has them."""
    text, length = schema.replace("'", "''"), len(schema) + 2
    prefix = schema.replace('"', '""').replace("'", "''")
    return (
        f"(SELECT type, substr(name, {length}) AS name, substr(tbl_name, {length}) AS tbl_name, rootpage, "
        f"replace(sql, '\"{prefix}.', '\"') AS sql FROM sqlite_master "
        f"WHERE substr(name, 1, {length - 1}) = '{text}.')"
    )
