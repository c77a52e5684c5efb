import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.access.roles import ROLES, Caller, Role, role_named
from afdaemon.api.methods import METHODS
from afdaemon.errors import ConfigError, ForbiddenError

roles = st.sampled_from(list(Role))


@given(roles, roles, roles)
def test_roles_are_in_one_order(a: Role, b: Role, c: Role) -> None:
    assert a.covers(b) or b.covers(a)
    assert (a.covers(b) and b.covers(a)) == (a is b)
    assert a.covers(c) or not (a.covers(b) and b.covers(c))


@given(role=roles, needed=roles)
def test_what_a_role_does_not_cover_is_refused(role: Role, needed: Role) -> None:
    caller = Caller(name="key anna", role=role, remedy="ask for more")
    if role.covers(needed):
        caller.require(needed, "focus.set")
        return
    with pytest.raises(ForbiddenError) as refused:
        caller.require(needed, "focus.set")
    assert "key anna" in str(refused.value)
    assert refused.value.remedy == "ask for more"


@given(role=roles, is_own=st.booleans())
def test_a_job_is_ended_by_its_owner_or_by_an_operator(role: Role, is_own: bool) -> None:
    caller = Caller(name="key anna", role=role)
    may = role.covers(Role.OPERATOR) or (is_own and role.covers(Role.AUTOMATION))
    if may:
        caller.require_abort_of("job-1", "key anna" if is_own else "key bob")
        return
    with pytest.raises(ForbiddenError):
        caller.require_abort_of("job-1", "key anna" if is_own else "key bob")


def test_what_each_role_may_do() -> None:
    """Written out, so that a method that is opened to more people is noticed."""
    allowed = {role: {n for n, m in METHODS.items() if m.role is role} for role in Role}
    assert allowed == {
        Role.NOBODY: set(),
        Role.VIEWER: {
            "server.hello", "server.ping", "server.status", "job.get", "job.wait", "focus.get", "focus.limits",
            "rpc.discover", "job.list", "events.since",
        },
        Role.AUTOMATION: {"autofocus.start", "autofocus.run", "job.abort", "focus.set", "frame.score"},
        Role.OPERATOR: {"job.recover", "fault.reset"},
        Role.ADMIN: set(),
    }  # fmt: skip


def test_whatever_moves_the_instrument_is_not_for_viewers() -> None:
    assert not [n for n, m in METHODS.items() if m.moves and Role.VIEWER.covers(m.role)]


def test_nobody_is_no_role_that_can_be_given() -> None:
    assert [role_named(name) for name in ROLES] == list(Role)[1:]
    for name in ("nobody", "root", "", None, 7):
        with pytest.raises(ConfigError, match="there is no role") as wrong:
            role_named(name)
        assert "viewer, automation, operator, admin" in wrong.value.remedy
