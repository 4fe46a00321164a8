"""The pixel cache: what is kept is what was written, and what nobody accepted is gone."""

import numpy as np
import pytest

from clnm.errors import StoreError
from clnm.imaging import cache
from tests.full_disk import files_no_larger_than
from tests.pixel_cache import fill


def speckle(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def room(tmp_path):
    return cache.new_room(tmp_path, "C1-run-0")


def files_in(root):
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 16), (61, 83)])
def test_a_mask_comes_back_as_it_was_in_an_eighth_of_its_bytes(shape, room, tmp_path):
    mask = speckle(shape) > 200
    cache.write_mask(room, "roi_ab", mask)
    cache.close_rooms(tmp_path, {"C1-run-0"})
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


def test_what_was_accepted_and_committed_is_kept_and_nothing_else(room, tmp_path):
    accepted, refused, forgotten = (speckle((20, 30), seed) for seed in range(3))
    for name, pixels in (("file_1", accepted), ("file_2", refused), ("file_3", forgotten)):
        cache.write_image(room, name, pixels)
    cache.accept_image(room, "file_1", "image_ab")
    cache.discard_image(room, "file_2")
    cache.discard_image(room, "file_2")
    cache.sync(room)
    assert files_in(tmp_path) == ["file_3.npy", "image_ab.npy"]
    cache.close_rooms(tmp_path, {"C1-run-0"})
    assert np.array_equal(cache.read_image(tmp_path, "image_ab"), accepted)
    assert files_in(tmp_path) == ["image_ab.npy"]
    assert [path.name for path in tmp_path.iterdir()] == ["ab"]


def test_until_the_commit_what_was_kept_before_stays(room, tmp_path):
    fill(tmp_path, images={"image_ab": speckle((20, 30), 1)})
    room = cache.new_room(tmp_path, "C1-run-1")
    cache.write_image(room, "file_1", speckle((20, 30), 2))
    cache.accept_image(room, "file_1", "image_ab")
    assert np.array_equal(cache.read_image(tmp_path, "image_ab"), speckle((20, 30), 1))
    cache.close_rooms(tmp_path, {"C1-run-0"})
    assert np.array_equal(cache.read_image(tmp_path, "image_ab"), speckle((20, 30), 1))
    assert files_in(tmp_path) == ["image_ab.npy"]


def test_a_run_killed_while_it_puts_pixels_in_their_place_is_made_good(room, tmp_path):
    for number in range(2):
        cache.write_image(room, f"file_{number}", speckle((4, 4), number))
        cache.accept_image(room, f"file_{number}", f"image_a{number}")
    (tmp_path / "a0").mkdir()
    (room / "accepted" / "image_a0.npy").rename(tmp_path / "a0" / "image_a0.npy")
    cache.close_rooms(tmp_path, {"C1-run-0"})
    for number in range(2):
        assert np.array_equal(cache.read_image(tmp_path, f"image_a{number}"), speckle((4, 4), number))


def test_a_process_that_outlived_its_run_can_leave_no_pixels(room, tmp_path):
    cache.close_rooms(tmp_path, set())
    with pytest.raises(StoreError):
        cache.write_image(room, "file_1", speckle((4, 4)))
    assert list(tmp_path.iterdir()) == []


def test_pixels_are_for_their_owner_alone(tmp_path):
    root = tmp_path / "pixels"
    fill(root, images={"image_ab": speckle((4, 4))})
    room = cache.new_room(root, "C1-run-0")
    assert {path.stat().st_mode & 0o077 for path in (root, room, *root.rglob("*")) if path.is_dir()} == {0}


def test_what_does_not_wait_cannot_be_accepted(room):
    with pytest.raises(StoreError, match="cache of pixels cannot be written"):
        cache.accept_image(room, "file_1", "image_ab")


@pytest.mark.parametrize("size", [100, 4_000])
def test_pixels_that_find_no_room_are_a_sentence_and_nothing_is_kept(size, room, tmp_path):
    with files_no_larger_than(size), pytest.raises(StoreError, match="cache of pixels cannot be written"):
        cache.write_mask(room, "roi_ab", speckle((200, 300)) > 200)
    cache.close_rooms(tmp_path, set())  # nobody commits what could not be written
    assert list(tmp_path.iterdir()) == []
