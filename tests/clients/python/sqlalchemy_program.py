"""SQLAlchemy over `sqlalchemy-libsql`: `python sqlalchemy_program.py URL`."""

from __future__ import annotations

import sys
from typing import Any

from report import check, print_answers
from sqlalchemy import ForeignKey, String, create_engine, func, inspect, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

engine = create_engine(
    "sqlite+libsql" + sys.argv[1].removeprefix("http") + "/?secure=false", connect_args={"auth_token": "none"}
)


class Base(DeclarativeBase):
    """The tables."""


class User(Base):
    """A user with posts."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    score: Mapped[float | None]
    posts: Mapped[list[Post]] = relationship(back_populates="user")


class Post(Base):
    """What a user wrote."""

    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    body: Mapped[str]
    user: Mapped[User] = relationship(back_populates="posts")


def add() -> Any:
    """Objects, flushed and committed."""
    with Session(engine) as session:
        user = User(name="ann", score=0.5, posts=[Post(body="one"), Post(body="two")])
        session.add_all([user, User(name="bob")])
        session.commit()
        return [user.id, [post.id for post in user.posts]]


def read() -> Any:
    """A join and an aggregate."""
    with Session(engine) as session:
        joined = select(User.name, Post.body).join(Post).order_by(Post.id)
        counted = select(User.name, func.count(Post.id)).outerjoin(Post).group_by(User.id).order_by(User.id)
        return [[list(row) for row in session.execute(one)] for one in (joined, counted)]


def change() -> Any:
    """An update through an object, one that is rolled back, and a delete."""
    with Session(engine) as session:
        user = session.scalars(select(User).where(User.name == "ann")).one()
        user.score = 2.25
        session.commit()
        user.name = "gone"
        session.flush()
        session.rollback()
        session.delete(session.get(Post, 1))
        session.commit()
        return [user.name, user.score, session.scalar(select(func.count()).select_from(Post))]


def break_unique() -> Any:
    """An error of the database."""
    with Session(engine) as session:
        session.add(User(name="bob"))
        session.commit()


def savepoint() -> Any:
    """A nested transaction that is rolled back."""
    with Session(engine) as session:
        session.add(User(name="outer"))
        session.flush()
        nested = session.begin_nested()
        session.add(User(name="inner"))
        session.flush()
        nested.rollback()
        session.commit()
        return list(session.scalars(select(User.name).order_by(User.id)))


def reflect() -> Any:
    """What the inspector finds."""
    found = inspect(engine)
    columns = [
        [one["name"], str(one["type"]), one["nullable"], one["primary_key"]] for one in found.get_columns("posts")
    ]
    return [found.get_table_names(), columns, found.get_foreign_keys("posts"), found.get_unique_constraints("users")]


def core() -> Any:
    """Text and several rows."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES (:name)"), [{"name": "c1"}, {"name": "c2"}])
        return [list(row) for row in connection.execute(text("SELECT id, name FROM users ORDER BY id"))]


check("create tables", lambda: Base.metadata.create_all(engine))
check("create tables again", lambda: Base.metadata.create_all(engine))
check("add", add)
check("read", read)
check("change", change)
check("refused: unique", break_unique)
check("savepoint", savepoint)
check("reflect", reflect)
check("core", core)
check("isolation level", lambda: engine.connect().get_isolation_level())
check("drop tables", lambda: Base.metadata.drop_all(engine))
print_answers()
