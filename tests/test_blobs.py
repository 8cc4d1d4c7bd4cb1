"""Blobs go through a shuffle by reference where there is a folder for them, else as they are."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from apache_beam.runners.worker import statesampler

from tests.beam_run import output_of
from transforms.core import SHUFFLE_DIR_VARIABLE, Blob, BlobPlace, JoinByKey, StructCoder, places_in
from transforms.core import blobs as module
from transforms.core.blocks import PostBlock
from transforms.readers.stackexchange.join_blocks import JoinBlock
from transforms.writers.shards import SinkBlock, route_block

SMALL, LARGE = b"s" * module.INLINE_BYTES, b"l" * (module.INLINE_BYTES + 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SHUFFLE_DIR_VARIABLE, str(tmp_path))
    return tmp_path


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_without_a_folder_no_element_refers_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is on every other runner: nothing sets the variable there."""
    monkeypatch.delenv(SHUFFLE_DIR_VARIABLE, raising=False)
    coder = StructCoder(PostBlock)
    encoded = coder.encode(PostBlock(3, Blob(LARGE)))
    assert encoded == msgspec.msgpack.encode([3, LARGE])
    assert not list(places_in(encoded))
    assert coder.decode(encoded) == PostBlock(3, Blob(LARGE))


def test_what_is_large_goes_by_reference_and_comes_back(folder: Path) -> None:
    blocks = [
        PostBlock(3, Blob(LARGE)),
        JoinBlock(1, Blob(LARGE), Blob(SMALL)),
        JoinBlock(2, Blob(SMALL), Blob(LARGE[::-1])),
        Blob(LARGE),
    ]
    for block in blocks:
        coder = StructCoder(type(block))
        encoded = coder.encode(block)
        (place,) = places_in(encoded)
        assert place.size == len(LARGE)
        assert len(encoded) < 100 + (len(SMALL) if isinstance(block, JoinBlock) else 0)
        assert coder.decode(encoded) == block
    assert written(folder) == 4 * len(LARGE)


def test_a_block_for_two_consumers_is_written_once(folder: Path) -> None:
    block = PostBlock(3, Blob(LARGE))
    encoded = [StructCoder(PostBlock).encode(block) for _ in range(3)]
    assert encoded[0] == encoded[1] == encoded[2]
    assert written(folder) == len(LARGE)


def test_who_only_passes_a_block_on_never_reads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = StructCoder(SinkBlock)
    block = SinkBlock(table="data/train", low=3, high=9, sizes=((3, 1), (9, 1)), blob=Blob(LARGE))
    encoded = coder.encode(block)
    before = written(folder)
    monkeypatch.setattr(module, "_read", None)  # reading would fail
    passed = coder.decode(encoded)
    assert coder.encode(passed) == encoded
    assert len(passed.blob) == len(LARGE)
    ((key, blob),) = route_block(passed, {"data/train": (0, 20)})
    assert key.index == 0
    assert list(places_in(StructCoder(Blob).encode(blob))) == list(places_in(encoded))
    assert written(folder) == before


def test_the_size_of_a_block_is_estimated_without_writing_it(folder: Path) -> None:
    coder = StructCoder(PostBlock)
    assert abs(coder.estimate_size(PostBlock(3, Blob(LARGE))) - len(LARGE)) < 20
    assert written(folder) == 0
    passed = coder.decode(coder.encode(PostBlock(3, Blob(LARGE))))
    assert abs(coder.estimate_size(passed) - len(LARGE)) < 20


def test_another_stage_writes_to_another_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file must not hold what is used at different times. And a block that outlives its stage is
    written again: the first file may be gone."""
    coder = StructCoder(Blob)
    kept = Blob(LARGE)
    files = []
    for _ in range(2):
        stage = object()
        monkeypatch.setattr(statesampler, "get_current_tracker", lambda stage=stage: stage)
        places = [
            place for blob in (kept, Blob(LARGE), kept) for place in places_in(coder.encode(blob))
        ]
        assert len({place.file for place in places}) == 1
        assert places[0] == places[2] != places[1]
        files.append(places[0].file)
    assert files[0] != files[1]
    assert {path.name for path in folder.iterdir()} == set(files)


def test_kinds_of_elements_are_in_files_of_their_own(folder: Path) -> None:
    """So what is used early does not wait for what is used late."""
    blocks = [PostBlock(1, Blob(LARGE)), JoinBlock(1, Blob(LARGE)), PostBlock(2, Blob(LARGE))]
    files = [
        place.file
        for block in blocks
        for place in places_in(StructCoder(type(block)).encode(block))
    ]
    assert files[0] == files[2] != files[1]


def test_a_file_that_was_deleted_is_not_written_to(folder: Path) -> None:
    coder = StructCoder(Blob)
    blob = Blob(LARGE)
    coder.encode(blob)
    (first,) = folder.iterdir()
    first.unlink()
    for again in (blob, Blob(LARGE)):
        assert coder.decode(coder.encode(again)).load() == LARGE
    assert first not in folder.iterdir()


def test_a_forked_process_writes_to_a_file_of_its_own(folder: Path) -> None:
    StructCoder(Blob).encode(Blob(LARGE))
    child = os.fork()
    if child == 0:
        StructCoder(Blob).encode(Blob(LARGE))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    encoded = StructCoder(Blob).encode(Blob(LARGE[::-1]))
    assert StructCoder(Blob).decode(encoded).load() == LARGE[::-1]
    assert len(list(folder.iterdir())) == 2


def test_lost_data_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coder = StructCoder(Blob)
    blob = coder.decode(coder.encode(Blob(LARGE)))
    (file,) = folder.iterdir()
    file.write_bytes(LARGE[:-1])
    with pytest.raises(OSError, match=rf"cut off.*start it again.*{file.name}"):
        blob.load()
    file.unlink()
    with pytest.raises(OSError, match=rf"are gone.*start it again.*{file.name}"):
        blob.load()
    monkeypatch.delenv(SHUFFLE_DIR_VARIABLE)
    with pytest.raises(OSError, match=SHUFFLE_DIR_VARIABLE):
        blob.load()


def test_a_full_disk_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._File, "path", lambda self, folder: "/dev/full")
    monkeypatch.setattr(module.os, "O_EXCL", 0)
    monkeypatch.setattr(module.os, "pwrite", lambda file, data, offset: os.write(file, data))
    with pytest.raises(OSError, match=rf"no space left .* in {folder.parent}; .* --work-dir"):
        StructCoder(Blob).encode(Blob(LARGE))


def test_a_pickle_needs_no_file(folder: Path) -> None:
    blob = StructCoder(Blob).decode(StructCoder(Blob).encode(Blob(LARGE)))
    pickled = pickle.dumps(blob)
    for file in folder.iterdir():
        file.unlink()
    assert pickle.loads(pickled).load() == LARGE


def test_no_reference_is_overlooked(folder: Path) -> None:
    """Not behind bytes that look like the beginning of one, nor where they are nested."""
    places = [BlobPlace(1, 2, 3, 4), BlobPlace(2**32 - 1, 0, 2**63, 10**12)]
    references = [module._MAGIC + module._PLACE.pack(*place) for place in places]
    for chance in (b"", module._MAGIC, module._MAGIC[:5], module._MAGIC + b"123"):
        found = list(places_in(b"x" + chance + references[0] + chance + references[1] + b"x"))
        assert [place for place in found if place in places] == places
    assert not list(places_in(b"x" * 100 + module._MAGIC + b"short"))


class Halves(NamedTuple):
    blobs: list[Blob]
    blocks: list[PostBlock]


def test_a_join_keeps_references_small(folder: Path) -> None:
    found = output_of(
        JoinByKey(Halves),
        ([(1, Blob(LARGE)), (1, Blob(b""))], tuple[int, Blob]),
        ([(1, PostBlock(2, Blob(LARGE)))], tuple[int, PostBlock]),
    )
    ((key, halves),) = found
    assert key == 1
    assert sorted(map(len, halves.blobs)) == [0, len(LARGE)]
    assert halves.blocks == [PostBlock(2, Blob(LARGE))]
    assert all(blob._data is None for blob in halves.blobs if len(blob))


def test_who_has_blobs_has_their_coder() -> None:
    """Else Beam would pickle them, with all their bytes."""
    script = (
        "from transforms.core import Blob\n"
        "from apache_beam.coders import registry\n"
        "print(type(registry.get_coder(Blob)).__name__)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told.stdout.split() == [b"StructCoder"]


def test_other_types_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        StructCoder(Blob).encode(object())
    with pytest.raises((ValueError, msgspec.ValidationError), match="where they are"):
        StructCoder(Blob).decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(77, b"x" * 40)))
