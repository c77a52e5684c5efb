"""Roles, and what may be done with them. Pure.

viewer < automation < operator < admin: each may do what those before it may. What a method needs is declared with the
method (`afdaemon.api.methods`).
"""

from dataclasses import dataclass
from enum import StrEnum

from afdaemon.errors import ConfigError, ForbiddenError


class Role(StrEnum):
    """What somebody may do. Nobody: a client whose key is not known any more."""

    NOBODY = "nobody"
    VIEWER = "viewer"
    AUTOMATION = "automation"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        """Whether it may do all that the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


ROLES = tuple(role.value for role in Role if role is not Role.NOBODY)
"""Those that can be given, from the least to the greatest."""


def role_named(name: object) -> Role:
    """A role that can be given. Raises `ConfigError`."""
    if name not in ROLES:
        raise ConfigError(f"there is no role {name!r}", remedy=f"choose one of {', '.join(ROLES)}")
    return Role(str(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: a name for people, which tells clients apart; the role; and how one comes by another role."""

    name: str
    role: Role
    remedy: str = ForbiddenError.remedy

    def require(self, role: Role, what: str) -> None:
        """Raise `ForbiddenError` unless `what`, which needs `role`, is allowed."""
        if self.role.covers(role):
            return
        if self.role is Role.NOBODY:
            raise ForbiddenError(
                f"{self.name} is not known here, or not any more", remedy=self.remedy
            )
        raise ForbiddenError(
            f"{what} needs the role {role}, and {self.name} is {self.role}", remedy=self.remedy
        )

    def require_abort_of(self, job: str, owner: str) -> None:
        """Raise `ForbiddenError` unless a job that `owner` started may be ended: by its owner, or by an operator."""
        if self.name == owner and self.role.covers(Role.AUTOMATION):
            return
        self.require(Role.OPERATOR, f"to end job {job}, which {owner} started,")
