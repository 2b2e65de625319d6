"""SQLModel: a program as its tutorial has it, embedded and on a node."""

import uuid
from datetime import date
from decimal import Decimal

from sqlalchemy import Engine
from sqlmodel import Field, Relationship, Session, SQLModel, col, select


class Team(SQLModel, table=True):
    """A team of heroes."""

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    heroes: list["Hero"] = Relationship(back_populates="team")  # a text: SQLModel reads it when all models are there


class Hero(SQLModel, table=True):
    """A hero, with a key that the program makes."""

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    name: str
    born: date
    fee: Decimal = Field(max_digits=9, decimal_places=2)
    team_id: int | None = Field(default=None, foreign_key="team.id")
    team: Team | None = Relationship(back_populates="heroes")


def test_a_program_of_sqlmodel_runs(engine: Engine) -> None:
    SQLModel.metadata.create_all(engine)
    key = uuid.uuid4()
    with Session(engine) as session:
        team = Team(name="Preventers")
        session.add(Hero(id=key, name="Rusty", born=date(1990, 5, 6), fee=Decimal("12.50"), team=team))
        session.add(Hero(name="Dive", born=date(2001, 1, 1), fee=Decimal(0), team=team))
        session.commit()
    with Session(engine) as session:
        hero = session.get(Hero, key)
        assert hero is not None
        assert hero.team is not None
        assert (hero.name, hero.born, hero.fee, hero.team.name) == (
            "Rusty",
            date(1990, 5, 6),
            Decimal("12.50"),
            "Preventers",
        )
        names = session.exec(select(Hero.name).where(col(Hero.born) > date(2000, 1, 1))).all()
        assert names == ["Dive"]
