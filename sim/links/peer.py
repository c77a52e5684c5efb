"""Whose program is at the other end of a TCP connection on this machine. Linux tells it in /proc/net/tcp."""

import socket
import sys
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_ESTABLISHED = "01"
"""In any other state the program may be gone; the kernel then shows user 0."""

Address = tuple[str, int]
"""IPv4 address and port."""


def owner_of(peer: Address, ours: Address) -> int | None:
    """The user id of the program that holds the connection from `peer` to `ours`; None where nobody can tell."""
    try:
        return found_in(_TABLE.read_text(encoding="ascii"), peer, ours)
    except OSError:
        return None


def found_in(table: str, peer: Address, ours: Address) -> int | None:
    """The same, from the text of the table."""
    wanted = [_shown(peer), _shown(ours), _ESTABLISHED]
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[1:4] == wanted:
            return int(columns[7])
    return None


def _shown(address: Address) -> str:
    """As the table has it: the address in the machine's own order of bytes."""
    host = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{host:08X}:{address[1]:04X}"
