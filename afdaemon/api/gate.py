"""The way in through an ipc socket: who comes waits before it until there are descriptors for all who wait.

libzmq accepts whatever comes, as fast as it comes, and ends the process when an accept on an ipc socket finds no
descriptor left. So it never listens where clients connect. They connect to a socket of ours that nobody accepts from;
when somebody waits there and there is room, another one takes its place under the same name, and libzmq gets the
first, on which nobody can arrive any more: it accepts at most as many as fit into its queue. (ADR 0023)
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import structlog
import zmq

from afdaemon.api import descriptors
from afdaemon.api.caps import QUEUED
from afdaemon.api.porter import Porter
from afdaemon.api.rundir import Folder, Listening
from afdaemon.api.sockets import bind
from afdaemon.errors import AfdaemonError

BETWEEN_S = 0.002
"""Between two admissions: a flood of connections gets a small part of a thread's time, and nobody waits longer for it
than a message takes anyway."""
UNSEEN = 8
"""So many admissions may be made before the porter has seen the first of them: far fewer than its monitor holds, for
libzmq must never wait for it while it is told to listen (the interpreter would wait too)."""
MEND_S = 1.0
"""How often it is checked that the socket is still where clients look for it."""

log = structlog.get_logger(__name__)


class Gate:
    """Of one socket of libzmq's, at one name in a folder of ours. For the thread of that socket.

    Raises:
        BusyError: something else listens there.
        ConfigError: it can't be listened on.
    """

    def __init__(self, watched: zmq.Socket[Any], name: str, folder: Folder, porter: Porter) -> None:
        self._watched = watched
        self._name = name
        self._folder = folder
        self._porter = porter
        self._waiting = folder.listen(name, QUEUED)
        self._given: list[Listening] = []
        self._admitted: deque[int] = deque(maxlen=UNSEEN)

    def fileno(self) -> int:
        """The descriptor that can be read when somebody waits. Another one after `admit` and `mend`."""
        return self._waiting.descriptor

    def admit(self) -> None:
        """Let in those who wait, if there is room for them."""
        self._retire()
        if self._is_counted() and descriptors.is_room():
            self._admitted.append(self._waiting.number)
            self._renew()

    def mend(self) -> None:
        """Listen again if the socket in the folder has gone; those who are connected stay so."""
        if self._folder.is_held and not self._folder.is_listening(self._name) and self._renew():
            log.warning("socket_made_again", name=self._name)

    def close(self) -> None:
        """Listen no more. What libzmq was given, it closes itself."""
        self._waiting.close()

    def _is_counted(self) -> bool:
        """Whether all who were let in before have been accepted, and the porter is not far behind."""
        if self._given and zmq.zmq_poll([(self._given[-1].descriptor, zmq.POLLIN)], 0):
            return False
        full = len(self._admitted) == UNSEEN
        return not full or self._porter.has_seen(self._admitted[0])

    def _renew(self) -> bool:
        """Listen anew, and give libzmq the one before; false, and nothing has changed, if that can't be done."""
        try:
            waiting = self._folder.listen(self._name, QUEUED)
        except AfdaemonError as error:
            self._folder.tell(str(error), error.remedy)
            return False
        given, self._waiting = self._waiting, waiting
        try:
            bind(self._watched, given.address, given.descriptor)
        except AfdaemonError as error:
            # libzmq may have closed the descriptor: it is not ours any more
            self._folder.tell(str(error), error.remedy)
            return False
        self._given.append(given)
        return True

    def _retire(self) -> None:
        """Close those that nobody is connected through any more: libzmq ends connections with what they came by."""
        for given in self._porter.spent(self._given):
            self._given.remove(given)
            with suppress(zmq.ZMQError):
                self._watched.unbind(given.address)


async def attend(gate: Gate) -> None:
    """Admit whoever comes, until cancelled: for a gate of the event loop's thread."""
    while True:
        if await _is_somebody_waiting(gate):
            gate.admit()
            await asyncio.sleep(BETWEEN_S)
        gate.mend()


async def _is_somebody_waiting(gate: Gate) -> bool:
    """Wait for somebody, but not for ever."""
    loop = asyncio.get_running_loop()
    descriptor, somebody = gate.fileno(), asyncio.Event()
    loop.add_reader(descriptor, somebody.set)
    try:
        async with asyncio.timeout(MEND_S):
            await somebody.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True
