"""The relay between two folders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from afdaemon.clock import SystemClock
from afdaemon.sim.chaos.folder import NAMES, FolderRelay
from afdaemon.sim.chaos.plan import Chaos, parse_rule

SOON_S = 0.15
PAIR = (b"the picture's bytes", b"WD=12.0\n")


def written(folder: Path, number: int = 0) -> None:
    for name, data in zip(NAMES, PAIR, strict=True):
        (folder / name).write_bytes(data + b"%d" % number)


def there(folder: Path) -> tuple[bytes, ...]:
    """What lies there, picture first."""
    return tuple((folder / name).read_bytes() for name in NAMES if (folder / name).exists())


Until = Callable[[Callable[[], object]], Awaitable[None]]
Taken = Callable[[Path], Awaitable[tuple[bytes, ...]]]


@pytest.fixture
def taken(until: Until) -> Taken:
    """Waits for a pair and takes it away."""

    async def take(folder: Path) -> tuple[bytes, ...]:
        await until(lambda: len(there(folder)) == 2)
        found = there(folder)
        for name in NAMES:
            (folder / name).unlink()
        return found

    return take


@asynccontextmanager
async def relayed(folder: Path, rule: str = "") -> AsyncIterator[tuple[Path, Path]]:
    source, target = folder / "its", folder / "ours"
    source.mkdir()
    chaos = Chaos([parse_rule(rule)] if rule else (), seed=3)
    async with FolderRelay(chaos, source=source, target=target, clock=SystemClock()):
        yield source, target


async def test_pairs_pass_one_after_the_other(tmp_path: Path, taken: Taken) -> None:
    async with relayed(tmp_path) as (source, target):
        for number in range(3):
            written(source, number)
            assert await taken(target) == tuple(data + b"%d" % number for data in PAIR)
        assert there(source) == ()


async def test_a_pair_waits_until_the_one_before_is_taken(tmp_path: Path, taken: Taken) -> None:
    async with relayed(tmp_path, "double,way=frames,times=1") as (source, target):
        written(source)
        assert await taken(target) == await taken(target)
        await asyncio.sleep(SOON_S)
        assert there(target) == ()


async def test_a_pair_that_is_dropped_never_comes(tmp_path: Path) -> None:
    async with relayed(tmp_path, "drop,way=frames,times=1") as (source, target):
        written(source)
        await asyncio.sleep(SOON_S)
        assert there(target) == there(source) == ()


async def test_one_of_the_files_is_garbled(tmp_path: Path, taken: Taken) -> None:
    async with relayed(tmp_path, "garble,way=frames,amount=2") as (source, target):
        written(source)
        found = await taken(target)
    differing = [
        sum(a != b for a, b in zip(was + b"0", now, strict=True))
        for was, now in zip(PAIR, found, strict=True)
    ]
    assert sorted(differing) == [0, 2]


async def test_a_file_grows_slowly(tmp_path: Path, until: Until) -> None:
    async with relayed(tmp_path, "split,way=frames,amount=0.01") as (source, target):
        written(source)
        sizes = set()
        whole = sum(map(len, PAIR)) + 2

        def is_whole() -> bool:
            sizes.add(sum(map(len, there(target))))
            return max(sizes) == whole

        await until(is_whole)
    assert len(sizes) > 3


@pytest.mark.parametrize("rule", ["half", "cut"])
async def test_the_folder_goes_and_comes_back(
    rule: str, tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdaemon.sim.chaos.folder.AWAY_S", 0.1)
    async with relayed(tmp_path, f"{rule},way=frames,times=1") as (source, target):
        written(source)
        await until(lambda: not target.exists())
        await until(target.exists)
        left = sum(map(len, there(target)))
        assert 0 < left < sum(map(len, PAIR)) + 2 if rule == "half" else left == 0
