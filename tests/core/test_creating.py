"""Creating and deleting a database in every small world: who is told that it was created created it, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.core.actors import empty, id_of
from tests.core.branch_actors import NAME, beginning, creator, janitor, world_of
from tests.core.branch_explorer import Actor, Explorer, Found, Program, Scenario, State, Violation, decoded
from virke.core.creating import create_database, delete_database
from virke.core.effects import Mismatch, SwapRoot
from virke.core.ids import CommitId, DatabaseId
from virke.core.pins import root_key
from virke.core.ring import RingEntry
from virke.core.root import Root, decode_root, encode_root
from virke.errors import Exists, Invalid, OutcomeUnknown, VirkeError


def root_of(who: str) -> Root:
    """The first root that one creator brings."""
    made, commit_id = empty(NAME), CommitId(id_of(f"commit {who}"))
    return replace(
        made,
        database_id=DatabaseId(id_of(f"database {who}")),
        head=replace(made.head, commit_id=commit_id),
        ring=(RingEntry(commit_id),),
    )


def maker(who: str, *, is_read_enough: bool = True) -> Program:
    """Creates the database; its id is the result, or the kind of the error."""

    def program() -> Actor:
        return (yield from told(create_database(root_of(who), is_read_enough=is_read_enough), root_of(who).database_id))

    return program


def told(protocol: Actor, result: object) -> Actor:
    """`result` once `protocol` is through, or the error's kind."""
    try:
        yield from protocol
    except VirkeError as error:
        return error.kind
    return result


def judge(end: State) -> str:
    """Whoever was told that the database is theirs is right, and all the others were not told so."""
    there = {decode_root(data, NAME).database_id for key, data in end.registers if key == root_key(NAME)}
    results = [node.result for node in end.nodes]
    made = {result for result in results if isinstance(result, bytes)}
    if not made <= there:
        return f"P1: told created, and it is not there: {results}"
    if "exists" in results and not there:
        return f"P3: told that it exists, and it does not: {results}"
    return ""


def explored(*programs: Program, kills: int = 0, lost: int = 0) -> Found:
    """Search it from an empty store."""
    scenario = Scenario((), programs, kills=kills, lost=lost, late=kills > 0)
    return Explorer(scenario, frozenset(), {}, janitor, judge).run()


@pytest.mark.parametrize("is_read_enough", [True, False])
def test_of_two_who_create_one_name_one_is_told_that_it_exists(is_read_enough: bool) -> None:
    """Whatever is lost, killed or late; and none of it needs a lock."""
    make = partial(maker, is_read_enough=is_read_enough)
    assert explored(make("a"), make("b"), make("c")).ends > 1
    assert explored(make("a"), make("b"), kills=1, lost=2).ends > 1


def test_a_database_that_gets_a_branch_while_it_is_deleted_is_kept_with_it_or_goes_before() -> None:
    """P8: either the deletion is refused, or there is no branch: never one over segments that are gone."""

    def deletes() -> Actor:
        return (yield from told(delete_database(world_of("d"), "here"), "deleted"))

    registers, contents = beginning()
    ends = []

    def both(end: State) -> str:
        ends.append(end.nodes[0].result)
        living = [key for key, data in end.registers if isinstance(decoded(data), Root)]
        if end.nodes[0].result == "deleted":
            return f"told deleted, and something is left: {living}" if living or end.objects else ""
        return "" if root_key(NAME) in living else "P3: told that it is not deleted, and it is"

    Explorer(Scenario((), (deletes, creator("main", "dev"))), registers, contents, janitor, both).run()
    assert {"deleted", Invalid.kind, "conflict"} <= {*ends}


def test_a_creation_that_takes_a_mismatch_for_another_is_rejected() -> None:
    """It may be the answer to a repeat of its own success: told "exists", and it is the caller's own."""

    def hasty(root: Root) -> Actor:
        for _ in range(3):
            match (yield SwapRoot(encode_root(root), None, root_key(NAME))):
                case Mismatch():
                    raise Exists("taken")
                case answer if hasattr(answer, "generation"):
                    return None
        raise OutcomeUnknown("no answer")

    def program() -> Actor:
        return (yield from told(hasty(root_of("a")), root_of("a").database_id))

    def own(end: State) -> str:
        mine = root_of("a").database_id
        there = [decode_root(data, NAME).database_id for _, data in end.registers]
        return (
            "P3: told that it exists, and it is its own"
            if "exists" in [n.result for n in end.nodes] and there == [mine]
            else ""
        )

    with pytest.raises(Violation, match="P3"):
        Explorer(Scenario((), (program,), lost=1), frozenset(), {}, janitor, own).run()
    Explorer(Scenario((), (maker("a"),), lost=1), frozenset(), {}, janitor, own).run()
