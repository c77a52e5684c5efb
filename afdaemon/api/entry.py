"""One of the daemon's sockets at one address: libzmq's socket, who watches its connections, and the way in.

A door has a socket for each of its addresses. Were it one socket for all, a flood on tcp could fill the monitor that
ipc connections are reported by, and libzmq would wait for the interpreter while the interpreter waits for libzmq.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from afdaemon.api.gate import Gate
from afdaemon.api.places import Place
from afdaemon.api.porter import Guests, Porter
from afdaemon.api.sockets import bind, harden

if TYPE_CHECKING:
    import zmq

S = TypeVar("S", bound="zmq.Socket[Any]")
Address = tuple[str, Place]
"""One of the addresses of a place."""


class Entry(Generic[S]):
    """Bound when made, released by `close`. For one thread.

    Raises:
        BusyError: something else listens at the address.
        ConfigError: it can't be listened on.
    """

    def __init__(self, socket: S, address: str, place: Place, guests: Guests) -> None:
        self.socket = socket
        self.address = address
        self.callers = place.callers
        if place.guard is not None:
            place.guard.lock(socket)
        self.porter = Porter(socket, address, guests)
        self.gate: Gate | None = None
        try:
            if place.folder is None:
                bind(socket, address)
            else:
                self.gate = Gate(socket, address.rpartition("/")[2], place.folder, self.porter)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the socket; what is queued still leaves within the linger time."""
        self.porter.close()
        if self.gate is not None:
            self.gate.close()
        self.socket.close()


def enter(
    context_of: "Callable[[Place], zmq.Context[S]]",
    kind: int,
    addresses: Sequence[Address],
    guests: Guests,
    max_bytes: int,
) -> list[Entry[S]]:
    """One door at all its addresses, all or none of them."""
    with ExitStack() as stack:
        entries = []
        for address, place in addresses:
            socket = context_of(place).socket(kind)
            harden(socket, max_bytes=max_bytes)
            entries.append(stack.enter_context(closing(Entry(socket, address, place, guests))))
        stack.pop_all()
        return entries
