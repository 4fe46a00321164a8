"""The pixel cache: what is kept is what was written, and what nobody accepted is gone."""

import numpy as np
import pytest

from clnm.errors import StoreError
from clnm.imaging import cache


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


def test_what_waits_is_kept_under_its_key_or_dropped(tmp_path):
    accepted, refused = speckle((20, 30), 1), speckle((20, 30), 2)
    cache.write_waiting(tmp_path, "file_1", accepted)
    cache.write_waiting(tmp_path, "file_2", refused)
    cache.accept(tmp_path, "file_1", "image_ab")
    cache.drop_waiting(tmp_path)
    cache.sync(tmp_path)
    assert np.array_equal(cache.read_image(tmp_path, "image_ab"), accepted)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["image_ab.npy"]


def test_pixels_are_for_their_owner_alone(tmp_path):
    cache.write_waiting(tmp_path / "pixels", "file_1", speckle((4, 4)))
    cache.accept(tmp_path / "pixels", "file_1", "image_ab")
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "pixels").iterdir()} == {0}


def test_what_does_not_wait_cannot_be_accepted(tmp_path):
    with pytest.raises(StoreError, match="cache of pixels cannot be written"):
        cache.accept(tmp_path, "file_1", "image_ab")


def test_a_cache_that_is_not_there_yet_has_nothing_to_sync(tmp_path):
    cache.sync(tmp_path / "nothing")
