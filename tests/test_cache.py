"""What becomes of packs and phantoms that nothing will use again."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import bench.data.cache as cache_module
from bench.data.cache import ABANDONED_SECONDS, prune, survey
from bench.data.chexpert import read_tree
from bench.data.locks import locked, locked_if_free
from bench.data.pack import Packed, pack
from bench.data.phantom.embedded import embedded_phantom_folder
from bench.data.split import Split
from tests.image_trees import encoded, numbered_tree, picture
from tests.in_process import call

SIDE = 8
PACK_BYTES = 4096 + 3 * SIDE * SIDE
"""A NumPy header and three images."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def packs(cache: Path) -> list[Path]:
    return sorted((cache / "packs").glob("*.npy"))


def change(split: Split, row: int, number: int) -> None:
    file = split.root / str(split.paths[row])
    file.write_bytes(encoded(picture(number)))
    os.utime(file, ns=(0, number))


def packed(split: Split, cache: Path) -> Packed:
    return pack(split, size=SIDE, cache=cache)


def test_the_pack_of_changed_images_goes_when_the_new_one_is_there(
    tmp_path: Path, cache: Path
) -> None:
    split = numbered_tree(tmp_path / "tree", 3)
    before = packed(split, cache)
    held = before.images.copy()
    assert before.freed == 0
    change(split, 1, 99)
    after = packed(split, cache)
    assert after.freed == PACK_BYTES
    assert len(packs(cache)) == 1
    assert np.array_equal(before.images, held), "who has it open keeps it"
    assert packed(split, cache).freed == 0
    assert prune(cache) == []


def test_a_pack_that_another_tree_names_stays(tmp_path: Path, cache: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 3)
    shutil.copytree(tmp_path / "tree", tmp_path / "copy")
    twin = read_tree(tmp_path / "copy").splits["train"]
    first = packed(split, cache)
    assert packed(twin, cache).digest == first.digest
    change(split, 0, 99)
    assert packed(split, cache).freed == 0
    assert len(packs(cache)) == 2
    assert prune(cache) == []
    change(twin, 0, 98)
    assert packed(twin, cache).freed == PACK_BYTES


def test_what_cannot_be_used_again_is_told_and_pruned(tmp_path: Path, cache: Path) -> None:
    kept = packed(numbered_tree(tmp_path / "kept", 2), cache)
    packed(numbered_tree(tmp_path / "gone", 3), cache)
    shutil.rmtree(tmp_path / "gone")
    grown = tmp_path / "grown"
    packed(numbered_tree(grown, 1), cache)
    table = next(
        f for f in (cache / "packs").rglob("files.npz") if str(grown) == str(np.load(f)["root"])
    )
    os.utime(table, (1, 1))
    packed(numbered_tree(grown, 5), cache)
    orphan = cache / "packs" / f"{'0' * 32}.npy"
    orphan.write_bytes(b"x" * 7)
    why = {entry.bytes: entry.unused for entry in survey(cache)}
    images = SIDE * SIDE
    assert why == {
        4096 + 2 * images: None,
        4096 + 3 * images: "its data folder is gone",
        4096 + 1 * images: "the label file names other images since",
        4096 + 5 * images: None,
        7: "the images have changed since",
    }
    assert sorted(entry.bytes for entry in prune(cache)) == [7, 4096 + images, 4096 + 3 * images]
    assert len(packs(cache)) == 2
    assert len(list((cache / "packs" / "trees").iterdir())) == 2
    again = packed(read_tree(tmp_path / "kept").splits["train"], cache)
    assert again.digest == kept.digest
    assert prune(cache) == []


def test_a_folder_that_is_being_packed_is_left_alone(tmp_path: Path, cache: Path) -> None:
    packed(numbered_tree(tmp_path / "tree", 3), cache)
    (folder,) = (cache / "packs" / "trees").iterdir()
    shutil.rmtree(tmp_path / "tree")
    with locked(folder / "lock"):
        assert prune(cache) == []
    assert [entry.unused for entry in prune(cache)] == ["its data folder is gone"]
    assert not folder.exists()


def test_unfinished_work_is_kept_until_the_pack_is_there(tmp_path: Path, cache: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 3)
    packed(split, cache)
    (folder,) = (cache / "packs" / "trees").iterdir()
    (folder / "work.npy").write_bytes(b"left by a kill right after publishing")
    assert [e.kind for e in survey(cache) if e.unused] == ["unfinished pack"]
    (file,) = packs(cache)
    file.rename(tmp_path / "aside")
    assert [e.unused for e in survey(cache)] == [None]
    (tmp_path / "aside").rename(file)
    assert [e.path.name for e in prune(cache)] == ["work.npy"]
    assert packed(split, cache).digest


def test_what_is_gone_before_it_is_looked_at_is_passed_over(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(numbered_tree(tmp_path / "tree", 3), cache)
    (folder,) = (cache / "packs" / "trees").iterdir()
    (folder / "work.npy").write_bytes(b"of a process that ends while this looks")
    real = cache_module.read_origin

    def publish_meanwhile(file: Path) -> object:
        (folder / "work.npy").unlink(missing_ok=True)
        return real(file)

    # The list of unfinished work has been made when its owner is read.
    monkeypatch.setattr(cache_module, "_packs", lambda *_: [])
    monkeypatch.setattr(cache_module, "read_origin", publish_meanwhile)
    assert survey(cache) == []


def test_a_folder_that_is_made_anew_while_it_is_deleted_stays(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(numbered_tree(tmp_path / "tree", 3), cache)
    shutil.rmtree(tmp_path / "tree")
    (folder,) = (cache / "packs" / "trees").iterdir()

    def rmtree(path: Path) -> None:
        for file in path.iterdir():
            file.unlink()
        (path / "lock").touch()  # by who waits for it
        path.rmdir()

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", rmtree)
        assert [entry.kind for entry in prune(cache)] == ["pack"]
    assert [file.name for file in folder.iterdir()] == ["lock"]
    assert packs(cache) == []


def test_phantoms_of_other_versions_go_with_their_packs(tmp_path: Path, cache: Path) -> None:
    old, new = cache / "phantom-0123456789abcdef", embedded_phantom_folder()
    for number, folder in enumerate((old, new)):
        packed(numbered_tree(folder, 3), cache)
        change(read_tree(folder).splits["train"], 0, 100 + number)
        packed(read_tree(folder).splits["train"], cache)
    drawing = cache / ".phantom-x.abc"
    drawing.mkdir()
    (cache / "compiled").mkdir()
    deleted = {(e.kind, e.unused) for e in prune(cache)}
    assert deleted == {
        ("phantom", "another version of the generator wrote it"),
        ("pack", "its phantom is of an older version"),
    }
    assert (new.exists(), old.exists(), drawing.exists()) == (True, False, True)
    os.utime(drawing, (1, 1))
    assert ABANDONED_SECONDS < 10**9
    assert [e.path for e in prune(cache)] == [drawing]
    assert {e.kind for e in survey(cache)} == {"pack", "phantom", "other"}


def test_packs_of_older_versions_stay(tmp_path: Path, cache: Path) -> None:
    packed(numbered_tree(tmp_path / "tree", 3), cache)
    (table,) = (cache / "packs").rglob("files.npz")
    held = dict(np.load(table))
    np.savez(table, **{k: v for k, v in held.items() if k not in ("root", "csv", "side")})
    shutil.rmtree(tmp_path / "tree")
    (entry,) = survey(cache)
    assert (entry.holds, entry.unused) == ("unknown: made by an older version", None)


def test_a_lock_whose_folder_is_deleted_is_taken_anew(tmp_path: Path) -> None:
    file = tmp_path / "tree" / "lock"
    taken = threading.Event()

    def wait_for_it() -> None:
        with locked(file):
            taken.set()

    with locked(file):
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert not taken.wait(0.2)
        shutil.rmtree(file.parent)
    waiting.join(5)
    assert taken.is_set()
    assert file.exists()
    with locked_if_free(tmp_path / "none" / "lock") as free:
        assert not free


def test_the_command_shows_and_prunes(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = call(capsys, "data", "cache")
    assert (empty.code, "0 B in all" in empty.out) == (0, True)
    split = numbered_tree(tmp_path / "tree", 3)
    assert call(capsys, "data", "pack", split.root, "--size", "8", "-q").code == 0
    change(split, 2, 77)
    done = call(capsys, "data", "pack", split.root, "--size", "8", "-q")
    assert "deleted the pack of train.csv's images as they were, 4.3 kB" in done.out
    shutil.rmtree(split.root)
    shown = call(capsys, "data", "cache")
    assert "--prune deletes 4.3 kB that nothing will use" in " ".join(shown.out.split())
    pruned = json.loads(call(capsys, "data", "cache", "--prune", "--json").out)
    assert [row["bytes"] for row in pruned["rows"]] == [PACK_BYTES]
    assert pruned["notes"] == ["deleted 4.3 kB"]
    assert "there was nothing to delete" in call(capsys, "data", "cache", "--prune").out


def test_a_cache_that_is_a_file_is_an_error(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("no folder")
    done = call(capsys, "data", "cache")
    assert done.code == 2
    assert "BENCH_CACHE" in done.err
