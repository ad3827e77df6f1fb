"""Packing: bad images, what is kept, kills, and two processes at once."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

import bench.data.pack as pack_module
from bench.data import packfiles
from bench.data.chexpert import read_tree
from bench.data.decoding import CHUNK, TOGETHER, Decoded
from bench.data.images import RULE
from bench.data.pack import pack
from bench.data.packfiles import FileTable, Journal, create_pixels
from bench.errors import DataError
from tests.image_trees import encoded, numbered_tree, patient_path, picture, write_tree
from tests.shared_data import shared


class Counter:
    """A progress callback that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.calls.append((done, total))

    @property
    def decoded(self) -> int:
        return self.calls[-1][0] - self.calls[0][0] if self.calls else 0


# What a pack holds


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_the_splits_rows(tmp_path: Path, workers: int) -> None:
    split = numbered_tree(tmp_path / "tree", 150)
    packed = pack(split, size=32, cache=tmp_path / "cache", workers=workers)
    assert packed.images.shape == (150, 32, 32)
    assert packed.images.dtype == np.uint8
    assert packed.rows.tolist() == list(range(150))
    assert packed.skipped == ()
    for number in (0, 63, 64, 149):
        assert (packed.images[number] == np.asarray(picture(number))).all()
    assert not packed.images.flags.writeable


def test_the_second_time_nothing_is_decoded(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 5)
    first, second = Counter(), Counter()
    one = pack(split, size=8, cache=tmp_path / "cache", progress=first)
    two = pack(split, size=8, cache=tmp_path / "cache", progress=second)
    assert first.calls == [(0, 5), (5, 5)]
    assert second.calls == []
    assert one.digest == two.digest
    assert (one.images == two.images).all()


def test_sizes_and_trees_have_their_own_packs(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 3)
    other = write_tree(tmp_path / "other", {patient_path(n): encoded(picture(9)) for n in range(3)})
    cache = tmp_path / "cache"
    digests = {
        pack(split, size=8, cache=cache).digest,
        pack(split, size=16, cache=cache).digest,
        pack(other, size=8, cache=cache).digest,
    }
    assert len(digests) == 3
    assert pack(split, size=8, cache=cache).images.shape == (3, 8, 8)


def test_equal_content_is_kept_once_wherever_it_stands(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = pack(numbered_tree(tmp_path / "one", 3), size=8, cache=cache)
    two = pack(numbered_tree(tmp_path / "two", 3), size=8, cache=cache)
    assert one.digest == two.digest
    assert len(list((cache / "packs").glob("*.npy"))) == 1
    assert list((cache / "packs").rglob("work*")) == []


def test_the_digest_is_over_rule_size_and_files(tmp_path: Path) -> None:
    import hashlib

    files = [encoded(picture(n)) for n in range(2)]
    split = write_tree(tmp_path / "tree", {patient_path(n): d for n, d in enumerate(files)})
    expected = hashlib.sha256(f"{RULE}\x008\0".encode())
    for data in files:
        expected.update(hashlib.sha256(data).digest())
    assert pack(split, size=8, cache=tmp_path / "cache").digest == expected.hexdigest()


def test_a_file_named_twice_is_in_twice(tmp_path: Path) -> None:
    split = write_tree(tmp_path / "tree", {patient_path(0): encoded(picture(0))})
    csv = tmp_path / "tree" / "train.csv"
    csv.write_text(csv.read_text() + csv.read_text().splitlines()[1] + "\n")
    split = read_tree(tmp_path / "tree").splits["train"]
    packed = pack(split, size=32, cache=tmp_path / "cache")
    assert len(packed.images) == 2
    assert (packed.images[0] == packed.images[1]).all()


def touch(file: Path) -> None:
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_touched_files_are_hashed_and_not_decoded(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 4)
    before = pack(split, size=8, cache=tmp_path / "cache")
    for path in split.paths:
        touch(split.root / path)
    counter = Counter()
    after = pack(split, size=8, cache=tmp_path / "cache", progress=counter)
    assert counter.calls == []
    assert after.digest == before.digest


def test_only_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 4)
    cache = tmp_path / "cache"
    before = pack(split, size=32, cache=cache)
    held = before.images[2].copy()
    changed = split.root / str(split.paths[2])
    changed.write_bytes(encoded(picture(99)))
    touch(changed)
    counter = Counter()
    after = pack(split, size=32, cache=cache, progress=counter)
    assert counter.decoded == 1
    assert after.digest != before.digest
    expected = [picture(0), picture(1), picture(99), picture(3)]
    assert (after.images == np.stack([np.asarray(image) for image in expected])).all()
    assert (before.images[2] == held).all(), "an open pack does not change under its reader"


def test_a_pack_that_was_cut_or_deleted_is_made_again(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 3)
    cache = tmp_path / "cache"
    pack(split, size=8, cache=cache)
    file = next((cache / "packs").glob("*.npy"))
    good = file.read_bytes()
    for ruin in (lambda: os.truncate(file, 100), file.unlink, lambda: file.write_bytes(b"")):
        ruin()
        assert pack(split, size=8, cache=cache).images.shape == (3, 8, 8)
        assert file.read_bytes() == good
    table = next((cache / "packs").rglob("files.npz"))
    for junk in (b"", b"PK\x03\x04 junk", table.read_bytes()[:200]):
        table.write_bytes(junk)
        assert pack(split, size=8, cache=cache).images.shape == (3, 8, 8)


def test_a_split_without_images(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 2).take(np.array([], dtype=np.int64))
    packed = pack(split, size=8, cache=tmp_path / "cache")
    assert packed.images.shape == (0, 8, 8)


# Bad images


def bad_tree(root: Path) -> Any:
    outside = root.parent / "outside.png"
    outside.write_bytes(encoded(picture(50)))
    good = encoded(picture(0))
    names = ["missing", "empty", "text", "cut", "folder", "link", "up"]
    paths = {name: patient_path(n + 1) for n, name in enumerate(names)}
    paths["up"] = f"../{patient_path(7)}"
    files: dict[str, bytes | None] = {patient_path(0): good}
    for name, path in paths.items():
        contents = {"empty": b"", "text": b"hello", "cut": good[:300]}
        files[path] = contents.get(name)
    files[patient_path(20)] = encoded(picture(20))
    (root / paths["folder"]).mkdir(parents=True)
    (root / paths["link"]).parent.mkdir(parents=True)
    (root / paths["link"]).symlink_to(outside)
    (root / paths["up"]).parent.mkdir(parents=True)
    (root / paths["up"]).write_bytes(good)
    return write_tree(root, files)


def test_every_bad_image_is_reported_with_its_line(tmp_path: Path) -> None:
    split = bad_tree(tmp_path / "tree")
    packed = pack(split, size=32, cache=tmp_path / "cache", on_bad_image="skip")
    reasons = {bad.line: bad.reason for bad in packed.skipped}
    assert list(reasons) == [3, 4, 5, 6, 7, 8, 9]
    for line, words in {
        3: "missing", 4: "empty", 5: "neither JPEG nor PNG", 6: "truncated", 7: "a folder",
        8: "leaves the data folder through a symbolic link", 9: "leaves the data folder",
    }.items():  # fmt: skip
        assert words in reasons[line]
    assert packed.rows.tolist() == [0, 8]
    assert (packed.images[1] == np.asarray(picture(20))).all()
    assert [bad.row for bad in packed.skipped] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_names_the_first_few_and_the_count(tmp_path: Path, workers: int) -> None:
    split = bad_tree(tmp_path / "tree")
    cache = tmp_path / "cache"
    with pytest.raises(DataError) as caught:
        pack(split, size=32, cache=cache, workers=workers)
    csv = tmp_path / "tree" / "train.csv"
    message = caught.value.message()
    assert message.startswith(f"{csv}:3: 7 of 9 images cannot be used")
    assert f"{csv}:6: {patient_path(4)}: truncated" in message
    assert "and 2 more" in message
    assert "--on-bad-image skip" in message
    assert list((cache / "packs").glob("*.npy")) == []


def test_skipping_is_remembered_until_a_file_changes(tmp_path: Path) -> None:
    split = bad_tree(tmp_path / "tree")
    cache = tmp_path / "cache"
    first = pack(split, size=32, cache=cache, on_bad_image="skip")
    counter = Counter()
    second = pack(split, size=32, cache=cache, on_bad_image="skip", progress=counter)
    assert counter.calls == []
    assert second.skipped == first.skipped
    assert second.rows.tolist() == [0, 8]
    with pytest.raises(DataError, match="7 of 9 images"):
        pack(split, size=32, cache=cache, on_bad_image="fail")
    for row in (1, 4):
        file = split.root / str(split.paths[row])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(row)))
    mended = Counter()
    third = pack(split, size=32, cache=cache, on_bad_image="skip", progress=mended)
    assert third.rows.tolist() == [0, 1, 4, 8]
    assert mended.decoded == 2
    assert (third.images[2] == np.asarray(picture(4))).all()
    assert (third.images[3] == np.asarray(picture(20))).all()


def test_a_copy_in_place_of_a_link_is_used_though_its_length_and_time_are_the_links(
    tmp_path: Path,
) -> None:
    split = bad_tree(tmp_path / "tree")
    cache = tmp_path / "cache"
    first = pack(split, size=32, cache=cache, on_bad_image="skip")
    assert 6 in [bad.row for bad in first.skipped]
    link = split.root / str(split.paths[6])
    target = link.resolve()
    link.unlink()
    shutil.copy2(target, link)
    mended = pack(split, size=32, cache=cache, on_bad_image="skip")
    assert mended.rows.tolist() == [0, 6, 8]
    assert (mended.images[1] == np.asarray(picture(50))).all()


def test_memory_that_runs_out_is_not_held_against_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: Any) -> None:
        raise MemoryError

    split = numbered_tree(tmp_path / "tree", 2)
    with monkeypatch.context() as patch:
        patch.setattr(PngImageFile, "load", load)
        with pytest.raises(MemoryError):
            pack(split, size=32, cache=tmp_path / "cache", on_bad_image="skip", workers=1)
    again = pack(split, size=32, cache=tmp_path / "cache", on_bad_image="skip", workers=1)
    assert again.skipped == ()


def test_a_disk_that_fills_up_while_rows_are_left_out_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = bad_tree(tmp_path / "tree")
    cache = tmp_path / "cache"
    real = packfiles.create_pixels

    def full(file: Path, count: int, side: int) -> int:
        start = real(file, count, side)
        if file.name == "compact.npy":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return start

    with monkeypatch.context() as patch:
        patch.setattr(packfiles, "create_pixels", full)
        with pytest.raises(DataError, match="No space left on device"):
            pack(split, size=32, cache=cache, on_bad_image="skip")
    assert list(cache.rglob("compact.npy")) == []
    counter = Counter()
    packed = pack(split, size=32, cache=cache, on_bad_image="skip", progress=counter)
    assert (packed.rows.tolist(), counter.decoded) == ([0, 8], 0)
    assert (packed.images[1] == np.asarray(picture(20))).all()


def test_pixels_that_the_disk_takes_in_parts_are_carried_over_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = numbered_tree(tmp_path / "tree", 3)
    pack(split, size=32, cache=tmp_path / "cache", workers=1)
    (split.root / str(split.paths[1])).write_bytes(encoded(picture(9)))
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda to, data, at: real(to, bytes(data)[:100], at))
    packed = pack(split, size=32, cache=tmp_path / "cache", workers=1)
    for image, number in zip(packed.images, (0, 9, 2), strict=True):
        assert (image == np.asarray(picture(number))).all()


@pytest.mark.parametrize("bad", [(), (0, 9, 10, 20), (7, 8), (15, 16, 21)])
def test_images_written_together_are_each_in_its_place(tmp_path: Path, bad: tuple[int]) -> None:
    count = 2 * TOGETHER + 6
    files: dict[str, bytes | None] = {patient_path(n): encoded(picture(n)) for n in range(count)}
    files |= {patient_path(n): b"\xff\xd8\xff not a jpeg" for n in bad}
    split = write_tree(tmp_path / "tree", files)
    packed = pack(split, size=32, cache=tmp_path / "cache", on_bad_image="skip", workers=1)
    assert packed.rows.tolist() == [n for n in range(count) if n not in bad]
    for row, image in zip(packed.rows.tolist(), packed.images, strict=True):
        assert (image == np.asarray(picture(row))).all()


def test_work_done_before_a_failure_is_kept(tmp_path: Path) -> None:
    files: dict[str, bytes | None] = {patient_path(n): encoded(picture(n)) for n in range(10)}
    files[patient_path(4)] = b"\xff\xd8\xff not a jpeg"
    split = write_tree(tmp_path / "tree", files)
    with pytest.raises(DataError, match="1 of 10"):
        pack(split, size=32, cache=tmp_path / "cache")
    (split.root / str(split.paths[4])).write_bytes(encoded(picture(4)))
    counter = Counter()
    packed = pack(split, size=32, cache=tmp_path / "cache", progress=counter)
    assert counter.decoded == 1
    assert (packed.images[9] == np.asarray(picture(9))).all()


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 2)
    first, second = (split.root / str(path) for path in split.paths)
    second.unlink()
    second.symlink_to(first)
    packed = pack(split, size=32, cache=tmp_path / "cache")
    assert (packed.images[0] == packed.images[1]).all()


def test_a_folder_whose_name_begins_with_two_points_is_inside(tmp_path: Path) -> None:
    split = write_tree(tmp_path / "tree", {f"..data/{patient_path(0)}": encoded(picture(0))})
    assert len(pack(split, size=32, cache=tmp_path / "cache").images) == 1


def test_a_linked_folder_that_leads_outside(tmp_path: Path) -> None:
    numbered_tree(tmp_path / "real", 1)
    split = write_tree(tmp_path / "tree", {patient_path(0): None})
    (tmp_path / "tree" / "train").symlink_to(tmp_path / "real" / "train")
    with pytest.raises(DataError, match="through a symbolic link"):
        pack(split, size=32, cache=tmp_path / "cache")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    alias = read_tree(tmp_path / "alias").splits["train"]
    assert len(pack(alias, size=32, cache=tmp_path / "cache").images) == 1


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 1)
    (split.root / str(split.paths[0])).chmod(0)
    if os.access(split.root / str(split.paths[0]), os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="cannot be read"):
        pack(split, size=32, cache=tmp_path / "cache")


# The cache


def test_a_cache_that_is_no_folder(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 1)
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match=r"cannot be written(?s:.)*BENCH_CACHE"):
        pack(split, size=32, cache=tmp_path / "cache")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_an_error_with_a_remedy(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The space is normally reserved beforehand, which would hide a disk that fills up later.
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    split = numbered_tree(tmp_path / "tree", 200)
    keep = resource.getrlimit(resource.RLIMIT_FSIZE)
    real = pack_module.create_pixels

    def create_then_fill_the_disk(file: Path, count: int, side: int) -> int:
        start = real(file, count, side)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, keep[1]))
        return start

    monkeypatch.setattr(pack_module, "create_pixels", create_then_fill_the_disk)
    try:
        with pytest.raises(DataError, match="cannot be written") as caught:
            pack(split, size=32, cache=tmp_path / "cache", workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, keep)
    assert "File too large" in (caught.value.found or "")
    monkeypatch.setattr(pack_module, "create_pixels", real)
    assert len(pack(split, size=32, cache=tmp_path / "cache").images) == 200


def test_the_journal_cuts_what_is_torn_and_starts_anew_after_a_boot(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    table = FileTable.unknown(4)
    for row in range(3):
        sha256 = (bytes([row]) * 32).hex()
        table.note([Decoded(row=row, size=10 + row, mtime=20 + row, sha256=sha256)])
    journal.append(table, np.array([0, 2]))
    read = journal.read(4)
    assert read.size.tolist() == [10, -1, 12, -1]
    assert read.sha256[2].tolist() == [2] * 32
    os.truncate(journal.file, journal.file.stat().st_size - 5)
    assert journal.read(4).size.tolist() == [10, -1, -1, -1]
    journal.append(table, np.array([1]))
    assert journal.read(4).size.tolist() == [10, 11, -1, -1]
    (tmp_path / "journal-another-boot").write_bytes(b"")
    Journal(tmp_path / "journal")
    assert not (tmp_path / "journal-another-boot").exists()


# Processes

PACKER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
from bench.data.chexpert import read_tree
from bench.data.pack import pack
split = read_tree(Path(sys.argv[1])).splits["train"]
packed = pack(split, size=int(sys.argv[4]), cache=Path(sys.argv[2]), workers=int(sys.argv[3]),
              progress=lambda done, total: print(done, total, flush=True))
print("digest", packed.digest, flush=True)
"""


def packer(root: Path, cache: Path, workers: int, size: int = 96) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PACKER, root, cache, str(workers), str(size)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_it_gives_the_same_bytes(tmp_path: Path, workers: int) -> None:
    count = 8 * CHUNK
    split = numbered_tree(tmp_path / "tree", count)
    cache = tmp_path / "cache"
    process = packer(split.root, cache, workers)
    assert process.stdout is not None
    seen = 0
    while seen < 2 * CHUNK:
        seen = int(process.stdout.readline().split()[0])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((cache / "packs").glob("*.npy")) == [], "killed before its end"
    counter = Counter()
    resumed = pack(split, size=96, cache=cache, workers=workers, progress=counter)
    undisturbed = pack(split, size=96, cache=tmp_path / "other", workers=workers)
    assert seen <= counter.calls[0][0] < count, "what was reported done is not done again"
    assert resumed.digest == undisturbed.digest
    one, other = (next((c / "packs").glob("*.npy")) for c in (cache, tmp_path / "other"))
    assert one.read_bytes() == other.read_bytes()


def test_two_processes_at_once_do_the_work_once(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 4 * CHUNK)
    both = [packer(split.root, tmp_path / "cache", 2) for _ in range(2)]
    texts = [process.communicate(timeout=60)[0].split("\n") for process in both]
    assert [process.returncode for process in both] == [0, 0]
    digests = {line for text in texts for line in text if line.startswith("digest")}
    assert len(digests) == 1
    assert sorted(len(text) > 2 for text in texts) == [False, True], "only one decoded"
    packed = pack(split, size=96, cache=tmp_path / "cache")
    assert f"digest {packed.digest}" in digests


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    split = numbered_tree(tmp_path / "tree", 8 * CHUNK)
    process = packer(split.root, tmp_path / "cache", 2)
    assert process.stdout is not None
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not list a process's children")
    found = [int(pid) for pid in children.read_text().split()]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in found) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in found)


def test_an_interrupt_is_for_the_process_that_started_the_workers(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group; here while they start, before they could ignore it."""
    split = numbered_tree(tmp_path / "tree", 8 * CHUNK)
    process = packer(split.root, tmp_path / "cache", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not list a process's children")
    while len(children.read_text().split()) < 2:
        assert process.poll() is None
    time.sleep(0.03)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.count("Traceback") == 1, errors
    assert errors.endswith("KeyboardInterrupt\n")


def test_a_worker_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = numbered_tree(tmp_path / "tree", 2 * CHUNK)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match="ended before its work was done"):
        pack(split, size=8, cache=tmp_path / "cache", workers=2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [("""printf '{"done": [{"row"'""", DataError), ("echo good morning; cat", ValueError)],
    ids=["cut short", "no answer"],
)
def test_an_answer_that_is_none_ends_packing_and_does_not_hang_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, error: type[Exception]
) -> None:
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\nread chunk; {answer}\n")
    worker.chmod(0o755)
    split = numbered_tree(tmp_path / "tree", 2 * CHUNK)
    monkeypatch.setattr(sys, "executable", str(worker))
    with pytest.raises(error, match=r"ended before its work was done|Expecting value"):
        pack(split, size=8, cache=tmp_path / "cache", workers=2)


@pytest.mark.parametrize(("name", "size"), [("nih1000-64", 64), ("nih621-320", 320)])
def test_the_shared_sets_equal_plain_pillow(tmp_path: Path, name: str, size: int) -> None:
    split = read_tree(shared(name)).splits["valid"]
    packed = pack(split, size=size, cache=tmp_path)
    for row in range(0, len(split), 20):
        with Image.open(split.root / str(split.paths[row])) as image:
            assert (packed.images[row] == np.asarray(image.convert("L"))).all()


def test_pixels_begin_at_a_page_and_work_begun_otherwise_goes_on_as_it_was(tmp_path: Path) -> None:
    new, old = tmp_path / "new.npy", tmp_path / "old.npy"
    assert create_pixels(new, 3, 16) == 4096
    np.save(old, np.arange(3 * 256, dtype=np.uint8).reshape(3, 16, 16))
    assert create_pixels(old, 3, 16) == 128
    for file in (new, old):
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
        assert (pixels.shape, pixels.dtype) == ((3, 16, 16), np.uint8)
    assert np.array_equal(np.load(old)[2, 15], np.arange(240, 256))
    assert create_pixels(old, 4, 16) == 4096  # of another shape: nothing of it is kept
    assert np.load(old).shape == (4, 16, 16)
