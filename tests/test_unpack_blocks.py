"""BZip2 in 7z archives is decoded by blocks, and archives are unpacked at the same time."""

import bz2
import io
import itertools
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import py7zr
import pytest

from schemas import checksums
from transforms.readers.base import Unpacking
from transforms.readers.formats import progress
from transforms.readers.stackexchange import archives, bzip2_blocks, unpack, unpack_blocks
from transforms.readers.stackexchange.archive_kinds import UnpackError, UnpackLimits
from transforms.readers.stackexchange.archives import find_sites
from transforms.readers.stackexchange.bzip2_blocks import (
    NotIndependentError,
    cut_blocks,
    decode_blocks,
    find_marks,
)
from transforms.readers.stackexchange.paths import SiteInput
from transforms.readers.stackexchange.unpack import unpack_tables
from transforms.readers.stackexchange.unpack_pool import UnpackPool, WorkFolderError

BZIP2 = [{"id": py7zr.FILTER_BZIP2}]
MARK = bytes.fromhex("314159265359")


def text(size: int, seed: int = 0) -> bytes:
    """A table of about ``size`` bytes, which a bzip2 packs to a third."""
    chance = random.Random(seed)
    rows = []
    length = 0
    while length < size:
        words = " ".join(str(chance.getrandbits(30)) for _ in range(60))
        rows.append(f'<row Id="{len(rows)}" PostTypeId="1" Body="{words}" />\n'.encode())
        length += len(rows[-1])
    return b"<posts>\n" + b"".join(rows) + b"</posts>"


TEXT = text(700_000)
POSTS = text(30_000)


def pack(data: bytes, level: int = 1) -> bytes:
    """Pack with blocks of ``level`` times 100 kB."""
    return bz2.compress(data, level)


def cut(packed: bytes) -> list[bzip2_blocks.BlockGroup]:
    return list(cut_blocks(lambda start, size: packed[start : start + size], len(packed)))


def make_7z(path: Path, *members: tuple[str, bytes], filters: Any = BZIP2) -> Path:
    with py7zr.SevenZipFile(path, "w", filters=filters) as archive:
        for name, data in members:
            archive.writef(io.BytesIO(data), name)
    return path


def add_7z(path: Path, name: str, data: bytes, filters: Any) -> None:
    """Add a member as a stream of its own."""
    with py7zr.SevenZipFile(path, "a", filters=filters) as archive:
        archive.writef(io.BytesIO(data), name)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def sequential(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was given to py7zr to extract."""
    given: list[object] = []
    real = py7zr.SevenZipFile.extract

    def extract(self: py7zr.SevenZipFile, *args: Any, **options: Any) -> None:
        given.extend(options["targets"])
        real(self, *args, **options)

    monkeypatch.setattr(py7zr.SevenZipFile, "extract", extract)
    return given


@pytest.mark.parametrize("shift", range(8))
def test_marks_are_found_at_every_bit(shift: int) -> None:
    mark = int.from_bytes(MARK, "big")
    for before, after in itertools.product((0, 1, 7, 64), (0, 1, 9)):
        size = before + 7 + after
        value = mark << 8 * after + 8 - shift
        data = value.to_bytes(size, "big")
        assert find_marks(data) == [8 * before + shift]
        noise = bytes(0xFF for _ in range(size))
        assert find_marks(noise) == []
    whole = (mark << 8 - shift).to_bytes(7, "big") if shift else MARK
    assert find_marks(whole) == [shift]
    assert find_marks(whole[:-1]) == []


@pytest.mark.parametrize("read_bytes", [50, 997, 1 << 20])
def test_blocks_decode_to_the_stream(monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr(bzip2_blocks, "READ_BYTES", read_bytes)
    data = TEXT[:450_000] if read_bytes == 50 else TEXT
    groups = cut(pack(data))
    blocks = [len(group.starts) for group in groups]
    assert sum(blocks) == -(-len(data) // 100_000)
    assert max(blocks) <= bzip2_blocks.GROUP_BLOCKS
    assert len({group.first_bit for group in groups}) > 1
    assert b"".join(decode_blocks(group) for group in groups) == data


def test_a_group_with_a_changed_bit_is_not_decoded() -> None:
    packed = bytearray(pack(TEXT))
    packed[len(packed) // 2] ^= 4
    groups = cut(bytes(packed))
    with pytest.raises(NotIndependentError):
        for group in groups:
            decode_blocks(group)


def test_what_unpacks_to_far_more_than_text_is_not_decoded_by_blocks() -> None:
    [group] = cut(bz2.compress(bytes(40_000_000)))
    with pytest.raises(NotIndependentError):
        decode_blocks(group)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"BZh",
        b"BZh0" + bytes(40),
        b"no bzip2 at all, but long enough",
        pack(b""),
        pack(TEXT)[:-1],
        pack(TEXT) + b"\x00",
        pack(TEXT)[:4] + bytes(6) + pack(TEXT)[10:],
        pack(TEXT)[:4] + b"\x00" + pack(TEXT)[4:],
    ],
    ids=["empty", "short", "level", "other", "no block", "cut", "longer", "no mark", "moved"],
)
def test_other_streams_are_refused(packed: bytes) -> None:
    with pytest.raises(NotIndependentError):
        cut(packed)


@pytest.mark.parametrize("threads", [1, 3])
def test_members_at_every_place_of_a_stream_are_written(
    tmp_path: Path, work: Path, sequential: list[object], threads: int
) -> None:
    tables = {
        "PostHistory": TEXT * 3,  # ends within a block, as all do
        "Posts": text(30_000, 2),
        "Users": b"<users/>",
        "Votes": text(200_000, 3) * 12,
    }
    unread = [("Badges.xml", text(20_000, 4)), ("Tags.xml", b"x"), ("Zz.xml", text(10_000, 5))]
    members = [(f"{table}.xml", data) for table, data in tables.items()]
    archive = make_7z(tmp_path / "a.7z", unread[0], members[0], unread[1], *members[1:], unread[2])
    with UnpackPool(threads) as pool:
        written = unpack_tables(archive, work, pool=pool)
    assert {table: path.read_bytes() for table, path in written.items()} == tables
    assert sorted(path.name for path in work.iterdir()) == sorted(f"{name}.xml" for name in tables)
    assert sequential == []


def test_what_comes_after_the_last_table_is_not_decoded(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    real = decode_blocks
    monkeypatch.setattr(
        "transforms.readers.stackexchange.unpack_blocks.decode_blocks",
        lambda group: decoded.append(1) or real(group),
    )
    members = [("Posts.xml", text(30_000)), ("Tags.xml", TEXT * 14)]
    archive = make_7z(tmp_path / "a.7z", *members)
    assert list(unpack_tables(archive, work)) == ["Posts"]
    assert len(decoded) <= 3  # of 6: those that wait for a thread are let go


def test_streams_of_several_kinds_are_read(
    tmp_path: Path, work: Path, sequential: list[object]
) -> None:
    votes, users = text(250_000, 1), text(120_000, 2)
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT))
    add_7z(archive, "Votes.xml", votes, BZIP2)
    add_7z(archive, "Users.xml", users, [{"id": py7zr.FILTER_LZMA2}])
    with py7zr.SevenZipFile(archive) as opened:
        assert opened.archiveinfo().blocks == 3
    written = unpack_tables(archive, work)
    contents = {table: path.read_bytes() for table, path in written.items()}
    assert contents == {"Posts": TEXT, "Votes": votes, "Users": users}
    assert sequential == ["Users.xml"]


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_damage_in_a_stream_is_told_and_leaves_the_others(
    tmp_path: Path, work: Path, place: float
) -> None:
    bad = make_7z(tmp_path / "b.example.com.7z", ("Posts.xml", TEXT))
    make_7z(tmp_path / "a.example.com.7z", ("Posts.xml", POSTS))
    make_7z(tmp_path / "c.example.com.7z", ("Posts.xml", POSTS), filters=None)
    data = bytearray(bad.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    bad.write_bytes(data)
    sites, [problem] = find_sites([str(tmp_path)], work, unpacking=Unpacking(3))
    assert [site.name for site in sites] == ["a.example.com", "c.example.com"]
    assert (problem.path, problem.message) == (str(bad), "it is damaged; download it again")
    assert not (work / "b.example.com" / "Posts.xml").exists()


def test_a_checksum_that_differs_is_damage(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, sequential: list[object]
) -> None:
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT))
    real = decode_blocks
    monkeypatch.setattr(
        "transforms.readers.stackexchange.unpack_blocks.decode_blocks",
        lambda group: real(group).replace(b"Id", b"id"),
    )
    # py7zr reads it rightly, so the table is right in the end.
    assert unpack_tables(archive, work)["Posts"].read_bytes() == TEXT
    assert sequential == ["Posts.xml"]


def test_a_mark_by_chance_is_no_damage(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, sequential: list[object]
) -> None:
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT))
    real = find_marks
    monkeypatch.setattr(
        bzip2_blocks, "find_marks", lambda data: sorted([*real(data), 100_000, 200_001])
    )
    assert unpack_tables(archive, work)["Posts"].read_bytes() == TEXT
    assert sequential == ["Posts.xml"]


def test_limits_hold_while_blocks_arrive(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, sequential: list[object]
) -> None:
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT * 7))
    monkeypatch.setattr(unpack, "_check_sizes", lambda *_: None)
    with pytest.raises(UnpackError, match=r"more than the limit"):
        unpack_tables(archive, work, limits=UnpackLimits(max_unpacked_bytes=2_000_000))
    assert list(work.iterdir()) == []
    assert sequential == []


def test_a_bomb_in_bzip2_is_refused(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"<posts>" + b" " * 60_000_000 + b"<row/></posts>"
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", data))
    with pytest.raises(UnpackError, match=r"times its size"):
        unpack_tables(archive, work)
    monkeypatch.setattr(unpack, "_check_sizes", lambda *_: None)
    with pytest.raises(UnpackError, match=r"times its size"):
        unpack_tables(archive, work)
    assert list(work.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is missing")
@pytest.mark.parametrize("site", ["a.example.com", "b.example.com"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_disk_ends_all(tmp_path: Path, work: Path, site: str, threads: int) -> None:
    for name in ("a.example.com", "b.example.com"):
        make_7z(tmp_path / f"{name}.7z", ("Posts.xml", POSTS))
    archive = tmp_path / f"{site}.7z"
    folder = work / site
    folder.mkdir(parents=True)
    (folder / "Posts.xml").symlink_to("/dev/full")
    with pytest.raises(WorkFolderError) as caught:
        find_sites([str(tmp_path)], work, unpacking=Unpacking(threads))
    assert str(caught.value).startswith(
        f"{archive} cannot be unpacked to {folder}: No space left on device; "
    )


def test_the_first_archive_without_room_stops_the_others(tmp_path: Path, work: Path) -> None:
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", POSTS))
    (work / "Posts.xml").mkdir(parents=True)
    with UnpackPool() as pool:
        with pytest.raises(WorkFolderError, match="Is a directory") as first:
            unpack_tables(archive, work, pool=pool)
        with pytest.raises(WorkFolderError) as second:
            unpack_tables(archive, tmp_path / "other", pool=pool)
    assert str(second.value) == str(first.value)


def test_room_that_others_have_reserved_is_not_free(tmp_path: Path) -> None:
    with UnpackPool() as pool:
        usage = os.statvfs(tmp_path)
        free = usage.f_bavail * usage.f_frsize
        assert pool.claim(Path("a"), tmp_path, free * 3 // 4) is None
        assert pool.claim(Path("b"), tmp_path, free * 3 // 4) is not None
        pool.has_written(Path("a"), free * 3 // 4)  # now the disk itself would show it
        assert pool.claim(Path("b"), tmp_path, free * 3 // 4) is None
        pool.end(Path("b"))
        assert pool.claim(Path("c"), tmp_path, free * 3 // 4) is None


def test_what_was_stopped_reads_no_further(tmp_path: Path, work: Path) -> None:
    """As when the user presses Ctrl-C while archives are unpacked."""
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT), filters=None)
    begun, stopped = threading.Event(), threading.Event()
    ends = []

    def unpack_late(pool: UnpackPool) -> None:
        begun.set()
        assert stopped.wait(60)
        try:
            unpack_tables(archive, work, pool=pool)
        except WorkFolderError as error:
            ends.append(str(error))

    def interrupt() -> None:
        with UnpackPool(1) as pool:
            pool.archives.submit(unpack_late, pool)
            never = pool.archives.submit(unpack_late, pool)
            assert begun.wait(60)
            pool.stop("unpacking was stopped")
            stopped.set()
            never.cancel()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert ends == ["unpacking was stopped"]
    assert not list(work.iterdir())


@pytest.mark.parametrize("slots", [1, 8])
def test_many_archives_share_a_bounded_number_of_groups(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    """Also with fewer than there are archives, none waits for ever; and all are free again."""
    room = "transforms.readers.stackexchange.unpack_blocks"
    monkeypatch.setattr(bzip2_blocks, "GROUP_BLOCKS", 1)
    lock = threading.Lock()
    held, most = 0, 0

    def change(groups: int) -> None:
        nonlocal held, most
        with lock:
            held += groups
            most = max(most, held)

    def start(group: Any, pool: UnpackPool, real: Any = unpack_blocks._start_decoding) -> Any:
        change(1)
        return real(group, pool)

    def write(pieces: Any, real: Any = unpack_blocks._write) -> None:
        real(pieces)
        change(-1)

    monkeypatch.setattr(f"{room}._start_decoding", start)
    monkeypatch.setattr(f"{room}._write", write)
    packed = [make_7z(tmp_path / "s0.7z", ("Posts.xml", TEXT * 4))]
    packed += [shutil.copy(packed[0], tmp_path / f"s{number}.7z") for number in range(1, 5)]
    with UnpackPool(4) as pool:
        if slots != 8:
            pool.slots = threading.BoundedSemaphore(slots)
        futures = [
            pool.archives.submit(unpack_tables, path, work / path.stem, pool=pool)
            for path in packed
        ]
        for future in futures:
            assert future.result()["Posts"].read_bytes() == TEXT * 4
        assert most <= slots
        assert [pool.slots.acquire(blocking=False) for _ in range(slots + 1)].count(True) == slots


def test_slots_are_free_after_every_kind_of_failure(tmp_path: Path, work: Path) -> None:
    """Else the next archives would wait for ever."""
    whole = make_7z(tmp_path / "whole.7z", ("Posts.xml", TEXT * 7))
    damaged = bytearray(whole.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    (tmp_path / "damaged.7z").write_bytes(damaged)
    with UnpackPool(2) as pool:
        for _ in range(3):
            with pytest.raises(UnpackError):
                unpack_tables(tmp_path / "damaged.7z", work / "damaged", pool=pool)
        stopped = UnpackPool(2)
        stopped.slots = pool.slots
        stopped.has_written = lambda *_: stopped.stop("enough")  # type: ignore[method-assign]
        with stopped, pytest.raises(WorkFolderError, match="enough"):
            unpack_tables(whole, work / "stopped", pool=stopped)
        assert [pool.slots.acquire(blocking=False) for _ in range(5)].count(True) == 4


def test_what_is_decoded_is_written_while_others_are_decoded(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held until then, so it must not queue behind what is not decoded yet."""
    monkeypatch.setattr(bzip2_blocks, "GROUP_BLOCKS", 1)
    real, real_write = unpack_blocks.decode_blocks, unpack_blocks._write
    first_written = threading.Event()
    calls = itertools.count()

    def decode(group: Any) -> bytes:
        if next(calls) > 0:
            assert first_written.wait(60), "the first group is not written"
        return real(group)

    def write(pieces: Any) -> None:
        real_write(pieces)
        first_written.set()

    monkeypatch.setattr(unpack_blocks, "decode_blocks", decode)
    monkeypatch.setattr(unpack_blocks, "_write", write)
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT * 5))
    assert unpack_tables(archive, work)["Posts"].read_bytes() == TEXT * 5


def test_progress_is_told_from_the_start(tmp_path: Path, work: Path) -> None:
    for name in ("a", "b"):
        make_7z(tmp_path / f"{name}.example.com.7z", ("Posts.xml", TEXT))
    said: list[str] = []
    ticks = itertools.count()
    clock: Callable[[], float] = lambda: float(next(ticks) * 20)  # noqa: E731
    with UnpackPool(1, said.append, clock) as pool:
        for name in ("a", "b"):
            archive = tmp_path / f"{name}.example.com.7z"
            pool.expect(archive, archive.stat().st_size)
        unpack_tables(tmp_path / "a.example.com.7z", work / "a", pool=pool)
        unpack_tables(tmp_path / "b.example.com.7z", work / "b", pool=pool)
    assert said[0].startswith("unpacking a.example.com.7z: ")
    assert said[-1].startswith("unpacking b.example.com.7z: 100 % of ")
    assert said[-1].endswith(" MB/s")
    shares = [int(line.split(": ")[1].split(" %")[0]) for line in said]
    assert shares == sorted(shares)


@pytest.mark.parametrize("packed", [True, False])
def test_hashing_an_input_is_told_and_can_be_stopped(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(progress, "FIRST_REPORT_SECONDS", 0)
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0)
    given = tmp_path / "a.example.com"
    if packed:
        given = make_7z(tmp_path / "a.example.com.7z", ("Posts.xml", TEXT * 8))
    else:
        given.mkdir()
        (given / "Posts.xml").write_bytes(TEXT * 8)
    said: list[str] = []
    [site], [] = find_sites([str(given)], work, unpacking=Unpacking(1, said.append))
    assert len(site.tables) == 1
    hashing = [line for line in said if line.startswith("hashing ")]
    name = "a.example.com.7z" if packed else "Posts.xml"
    assert all(line.startswith(f"hashing {name}: ") for line in hashing)
    shares = [int(line.split(": ")[1].split(" %")[0]) for line in hashing]
    assert shares == sorted(shares)
    assert len(shares) > 1
    assert shares[-1] == 100

    heard = []
    with UnpackPool(1) as pool:

        def stop(path: str, size: int, real: Any = pool.has_hashed) -> None:
            heard.append(size)
            pool.stop("enough")
            real(path, size)

        monkeypatch.setattr(pool, "has_hashed", stop)
        source = SiteInput("a.example.com", str(given), None)
        with pytest.raises(WorkFolderError, match="enough"):
            archives._open_source(source, work, UnpackLimits(), pool)
    assert len(heard) == 1


def test_folders_are_hashed_by_the_threads_that_unpack(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of many folders would start as many threads again."""
    monkeypatch.setattr(checksums, "HASHING_THREADS", 2)
    monkeypatch.setattr(checksums, "ThreadPoolExecutor", None)
    for name in ("a.example.com", "b.example.com"):
        (tmp_path / name).mkdir()
        for table in ("Posts", "Votes", "Users"):
            (tmp_path / name / f"{table}.xml").write_bytes(POSTS)
    sites, _ = find_sites([str(tmp_path)], work, unpacking=Unpacking(1))
    assert [len(site.inputs) for site in sites] == [1, 1]


def test_speed_counts_what_was_read() -> None:
    """And neither archives that were refused, nor what was read in vain."""
    said: list[str] = []
    ticks = itertools.count(step=5)
    with UnpackPool(1, said.append, lambda: float(next(ticks))) as pool:
        for name in "abc":
            pool.expect(Path(name), 1_000_000_000)
        pool.begin(Path("a"))
        pool.end(Path("a"))
        pool.begin(Path("b"))
        for size in (500_000_000, 0, -500_000_000, 500_000_000, 0, 0):
            pool.has_read(Path("b"), size)
    shares = {line.split(": ")[1].split(",")[0] for line in said}
    assert shares <= {"50 % of 3 GB", "33 % of 3 GB"}
    speeds = [float(line.split(", ")[1].removesuffix(" MB/s")) for line in said]
    assert all(speed <= 500 / 10 for speed in speeds)


def test_what_is_read_again_is_counted_once(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, sequential: list[object]
) -> None:
    archive = make_7z(tmp_path / "a.7z", ("Posts.xml", TEXT * 4))
    real = unpack_blocks.decode_blocks
    monkeypatch.setattr(
        unpack_blocks, "decode_blocks", lambda group: real(group).replace(b"Id", b"id")
    )
    counted = []
    with UnpackPool(1) as pool:

        def has_read(path: Path, size: int, real: Any = pool.has_read) -> None:
            counted.append(size)
            real(path, size)

        monkeypatch.setattr(pool, "has_read", has_read)
        unpack_tables(archive, work, pool=pool)
    assert sequential == ["Posts.xml"]
    header = 1 << 20  # of which as much is read as fits the buffer
    assert sum(counted) <= archive.stat().st_size + header + 1000


def test_the_result_does_not_depend_on_threads(tmp_path: Path, work: Path) -> None:
    for number in range(5):
        filters = BZIP2 if number % 2 else None
        name = f"s{number}.example.com.7z"
        make_7z(tmp_path / name, ("Posts.xml", text(9_000 * number, number)), filters=filters)
    (tmp_path / "x.example.com.7z").write_bytes(b"Rar!")
    found = [
        find_sites([str(tmp_path)], work / str(threads), unpacking=Unpacking(threads))
        for threads in (1, 4)
    ]
    (one, problems), (four, same_problems) = found
    assert problems == same_problems
    assert [(site.name, site.inputs) for site in one] == [(site.name, site.inputs) for site in four]
    for left, right in zip(one, four, strict=True):
        for table, file in left.tables.items():
            other = right.tables[table]
            assert Path(file.path).read_bytes() == Path(other.path).read_bytes()
