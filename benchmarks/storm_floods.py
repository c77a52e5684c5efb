"""What greedy and broken clients do to a daemon: each function goes on until it is told to stop."""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random

import zmq

from afdaemon.api.wire import MAX_IMAGE_BYTES

_SENDERS = 8
_WAITING = 256
_TOPICS = 200_000
_IMAGES, _IMAGE_BYTES = 60, 60 * 1024 * 1024
IDLE = 1_100
BUSY = "busy processors"
_GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL".ljust(64, b"\0")
_READY = b"\4\x1a\5READY\x0bSocket-Type\0\0\0\3SUB"
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A daemon's folder of sockets, its first tcp port, and the file that names the job under way."""

    folder: str
    port: int
    job: Path

    def place(self, name: str) -> str:
        """The address of one of its sockets."""
        return f"ipc://{self.folder}/{name}.sock"

    def dial(self, number: int) -> socket.socket:
        """A plain connection, to each of its six sockets in turn."""
        name = ("control", "abort", "events")[number % 3]
        if number % 2:
            return socket.create_connection(("127.0.0.1", self.port + number % 3), 1.0)
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(1.0)
        line.connect(f"{self.folder}/{name}.sock")
        return line


Flood = Callable[[Target, Event], None]


def scan(target: Target, stop: Event) -> None:
    """Connect and hang up, on one socket after the other."""
    number = 0
    while not stop.wait(0.0):
        number += 1
        with suppress(OSError):
            target.dial(number).close()


def garbage(target: Target, stop: Event) -> None:
    """HTTP, random bytes, half a greeting, a greeting and then anything; some stay until they are cut off."""
    rng = Random(0)  # noqa: S311 - noise
    kept: list[socket.socket] = []
    number = 0
    while not stop.wait(0.0):
        number += 1
        noise = rng.randbytes(rng.randrange(1, 2_000))
        said = (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", noise, _GREETING[:20], _GREETING + noise)
        with suppress(OSError):
            line = target.dial(number)
            line.sendall(said[rng.randrange(4)])
            kept.append(line)
        if len(kept) > 100:
            kept.pop(rng.randrange(100)).close()


def pings(target: Target, stop: Event) -> None:
    """Pings as fast as they can be sent, on control and abort, without reading an answer."""
    request = _request("server.ping")
    with _dealers(target, ("control", "abort"), 2 * _SENDERS) as lines:
        while not stop.wait(0.0):
            for line in lines:
                for _ in range(100):
                    with suppress(zmq.Again):
                        line.send(request, zmq.DONTWAIT)


def subscriptions(target: Target, stop: Event) -> None:
    """200 000 subscriptions on each of eight sockets, which come back as often as they are cut off."""
    context = zmq.Context()
    lines = [context.socket(zmq.SUB) for _ in range(_SENDERS)]
    for number, line in enumerate(lines):
        line.setsockopt(zmq.LINGER, 0)
        line.connect(target.place("events"))
        for topic in range(_TOPICS):
            line.subscribe(f"job.{number}.{topic}".encode())
            if stop.is_set():
                break
    stop.wait()
    context.destroy(linger=0)


def huge_images(target: Target, stop: Event) -> None:
    """60 images of 60 MiB at once, each on a connection of its own, again and again."""
    _images(target, stop, _IMAGE_BYTES)


def large_images(target: Target, stop: Event) -> None:
    """60 images of the largest size that is allowed."""
    _images(target, stop, MAX_IMAGE_BYTES)


def idle(target: Target, stop: Event) -> None:
    """1 100 connections that shake hands and then say nothing; whoever is cut off comes back."""
    lines: dict[int, socket.socket] = {}
    while not stop.wait(_PAUSE_S):
        for number in range(IDLE):
            if number in lines and not _has_ended(lines[number]):
                continue
            with suppress(OSError):
                lines.pop(number, None)
                lines[number] = target.dial(number)
                lines[number].sendall(_GREETING + _READY)
                lines[number].setblocking(False)


def waiting(target: Target, stop: Event) -> None:
    """256 clients that wait for the end of whatever job is under way, eight times each."""
    with _dealers(target, ("control",), _WAITING) as lines:
        waited = ""
        while not stop.wait(_PAUSE_S):
            job = target.job.read_text()
            if job == waited:
                continue
            waited = job
            request = _request("job.wait", job=job, timeout_s=600.0)
            for line in lines:
                with suppress(zmq.Again):
                    for _ in range(8):
                        line.send(request, zmq.DONTWAIT)


def hogs(target: Target, stop: Event) -> None:
    """A processor kept busy."""
    while not stop.is_set():
        sum(range(10_000))


FLOODS: Mapping[str, tuple[Flood, ...]] = {
    "nobody else": (),
    "port scan": (scan,),
    "garbage": (garbage,),
    "pings": (pings,),
    "200 000 subscriptions": (subscriptions,),
    "60 images of 60 MiB": (huge_images,),
    "60 images of 16 MiB": (large_images,),
    "1 100 idle connections": (idle,),
    "256 waiting clients": (waiting,),
    BUSY: (hogs,) * (2 * (os.cpu_count() or 1)),
}


def _images(target: Target, stop: Event, size: int) -> None:
    image = zmq.Frame(bytes(size))
    request = _request("frame.score", magnification=2000.0)
    with _dealers(target, ("control",), _IMAGES) as lines:
        while not stop.wait(_PAUSE_S):
            for line in lines:
                with suppress(zmq.Again):
                    line.send(request, zmq.DONTWAIT | zmq.SNDMORE)
                    line.send(image, zmq.DONTWAIT, copy=False)


@contextmanager
def _dealers(
    target: Target, names: tuple[str, ...], count: int
) -> "Iterator[list[zmq.Socket[bytes]]]":
    """Sockets that keep little for later, to one of the daemon's sockets after the other."""
    context = zmq.Context()
    lines = [context.socket(zmq.DEALER) for _ in range(count)]
    for number, line in enumerate(lines):
        line.setsockopt(zmq.LINGER, 0)
        line.setsockopt(zmq.IMMEDIATE, 1)
        line.setsockopt(zmq.SNDHWM, 100)
        line.connect(target.place(names[number % len(names)]))
    try:
        yield lines
    finally:
        context.destroy(linger=0)


def _request(method: str, **params: object) -> bytes:
    request = {"jsonrpc": "2.0", "id": "flood", "method": method, "params": params}
    return json.dumps(request).encode()


def _has_ended(line: socket.socket) -> bool:
    """Whether the other side has hung up; reads and drops what it sent."""
    try:
        return not line.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True
