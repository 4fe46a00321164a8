"""The pixel cache: what is kept is what was written, and what nobody accepted is gone."""

import numpy as np
import pytest

from clnm.errors import StoreError
from clnm.imaging import cache
from tests.full_disk import files_no_larger_than


def speckle(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 16), (61, 83)])
def test_a_mask_comes_back_as_it_was_in_an_eighth_of_its_bytes(shape, tmp_path):
    mask = speckle(shape) > 200
    cache.write_mask(tmp_path, "roi_ab", mask)
    kept = cache.read_mask(tmp_path, "roi_ab")
    assert kept.dtype == bool
    assert np.array_equal(kept, mask)
    [path] = tmp_path.rglob("*.npy")
    assert path.stat().st_size <= 2 * 128 + 16 + np.ceil(mask.size / 8)


def test_a_mask_that_was_kept_pixel_by_pixel_is_still_read(tmp_path):
    mask = speckle((20, 30)) > 200
    (tmp_path / "ab").mkdir()
    np.save(tmp_path / "ab" / "roi_ab.npy", mask)
    assert np.array_equal(cache.read_mask(tmp_path, "roi_ab"), mask)


def test_what_waits_is_kept_under_its_key_or_gone_with_the_room(tmp_path):
    accepted, refused, forgotten = (speckle((20, 30), seed) for seed in range(3))
    with cache.waiting_room(tmp_path) as room:
        for name, pixels in (("file_1", accepted), ("file_2", refused), ("file_3", forgotten)):
            cache.write_waiting(room, name, pixels)
        cache.accept(room, "file_1", tmp_path, "image_ab")
        cache.discard(room, "file_2")
        cache.discard(room, "file_2")
        assert [path.name for path in room.iterdir()] == ["file_3.npy"]
    assert np.array_equal(cache.read_image(tmp_path, "image_ab"), accepted)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["image_ab.npy"]


def test_an_image_that_is_taken_in_again_replaces_what_was_kept(tmp_path):
    for seed in range(2):
        with cache.waiting_room(tmp_path) as room:
            cache.write_waiting(room, "file_1", speckle((20, 30), seed))
            cache.accept(room, "file_1", tmp_path, "image_ab")
    assert np.array_equal(cache.read_image(tmp_path, "image_ab"), speckle((20, 30), 1))


def test_a_room_is_gone_where_intake_ended_with_an_error_or_its_run_was_killed(tmp_path):
    def intake_with_an_error():
        with cache.waiting_room(tmp_path) as room:
            cache.write_waiting(room, "file_1", speckle((4, 4)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        intake_with_an_error()
    (tmp_path / "waiting-killed").mkdir()
    (tmp_path / "waiting-killed" / "file_2.npy").write_bytes(b"pixels")
    with cache.waiting_room(tmp_path) as room:
        assert list(tmp_path.iterdir()) == [room]
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_outlived_its_run_can_leave_no_pixels(tmp_path):
    with cache.waiting_room(tmp_path) as room:
        pass
    with pytest.raises(StoreError):
        cache.write_waiting(room, "file_1", speckle((4, 4)))
    assert list(tmp_path.iterdir()) == []


def test_pixels_are_for_their_owner_alone(tmp_path):
    root = tmp_path / "pixels"
    with cache.waiting_room(root) as room:
        assert room.stat().st_mode & 0o077 == 0
        cache.write_waiting(room, "file_1", speckle((4, 4)))
        cache.accept(room, "file_1", root, "image_ab")
    assert {path.stat().st_mode & 0o077 for path in (root, *root.iterdir())} == {0}


def test_what_does_not_wait_cannot_be_accepted(tmp_path):
    with cache.waiting_room(tmp_path) as room, pytest.raises(StoreError, match="cache of pixels cannot be written"):
        cache.accept(room, "file_1", tmp_path, "image_ab")


@pytest.mark.parametrize("size", [100, 4_000])
def test_pixels_that_find_no_room_are_a_sentence_and_nothing_is_kept(size, tmp_path):
    with files_no_larger_than(size), pytest.raises(StoreError, match="cache of pixels cannot be written"):
        cache.write_mask(tmp_path, "roi_ab", speckle((200, 300)) > 200)
    assert not (tmp_path / "ab" / "roi_ab.npy").exists()
