"""Masks: every format to the same pixels, matched to the right image, refused where it is not certain."""

import pickle

import numpy as np
import pytest
from PIL import Image

from clnm.archive.matching import Match, match_stem, reader_code
from clnm.archive.pseudonyms import Pseudonyms
from clnm.entities import Reason, SpacingSource
from clnm.imaging import cache
from clnm.imaging.masks import LabelImage, fit_mask, read_mask
from clnm.imaging.refusal import RefusedError
from clnm.imaging.regions import Region
from tests.full_disk import files_no_larger_than
from tests.unit.intake_archives import SHAPE, blob, dicom, hospital, pixels, png, put, region, volume

DRAWN = blob().astype(bool)


def palette_png(indices, colors):
    import io

    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([channel for color in colors for channel in color])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def jpeg(array):
    import io

    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=75)
    return file.getvalue()


def rgba(mask):
    full = np.zeros((*mask.shape, 4), dtype=np.uint8)
    full[..., :3] = mask[..., None]
    full[..., 3] = 255
    return full


def nibabel_like(mask, directory):
    """NIfTI as (x, y, 1) with an identity affine: what other writers leave of the geometry."""
    return volume(mask[np.newaxis], ".nii.gz", directory)


FORMATS = {
    "m.nrrd": lambda d: volume(blob(), ".nrrd", d),
    "three.nrrd": lambda d: volume(blob()[np.newaxis], ".nrrd", d),
    "m.nii": lambda d: volume(blob(), ".nii", d),
    "m.nii.gz": lambda d: nibabel_like(blob(), d),
    "m.mha": lambda d: volume(blob(), ".mha", d),
    "float.nrrd": lambda d: volume(blob().astype(np.float32), ".nrrd", d),
    "zero_one.png": lambda _: png(blob()),
    "zero_255.png": lambda _: png(blob(label=255)),
    "one_bit.png": lambda _: png(blob(label=255), "1"),
    "rgba.png": lambda _: png(rgba(blob(label=255))),
    "palette.png": lambda _: palette_png(blob(), [(0, 0, 0), (128, 0, 0), (0, 128, 0)]),
    "palette_white_first.png": lambda _: palette_png(1 - blob(), [(255, 255, 255), (0, 0, 0)]),
    "palette_255.png": lambda _: palette_png(blob(label=255), [(n, n, n) for n in range(256)]),
    "sixteen.png": lambda _: png(blob().astype(np.uint16) * 65535),
    "stray_75.png": lambda _: png(
        np.where(blob(height=1, width=2), 75, blob(label=255, left=11, width=8)).astype("u1")
    ),
}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "stray_75.png"])
def test_every_format_reads_as_the_same_pixels(name, tmp_path):
    labels = read_mask(FORMATS[name](tmp_path), name)
    assert labels.shape == SHAPE
    assert (labels.any_label() == DRAWN).all()
    assert np.unique(labels.layers[0]).tolist() == [0, 1]


def test_a_soft_edge_is_cut_at_half(tmp_path):
    labels = read_mask(FORMATS["stray_75.png"](tmp_path), "m.png")
    assert (labels.any_label() == blob(left=11, width=8).astype(bool)).sum() == DRAWN.size - 1  # one stray pixel on it


def test_a_jpeg_of_a_mask_is_cut_at_half():
    mask = blob((96, 128), top=32, left=40, height=24, width=32, label=255)
    labels = read_mask(jpeg(mask), "m.jpg")
    assert abs(int(labels.any_label().sum()) - int((mask > 0).sum())) <= 8
    assert np.unique(labels.layers[0]).tolist() == [0, 1]


def test_rows_and_columns_are_never_swapped(tmp_path):
    mask = blob(top=1, left=20, height=3, width=9)
    for name in ("m.nrrd", "m.nii", "m.mha"):
        read = read_mask(volume(mask, "." + name.split(".")[1], tmp_path, spacing=(0.1, 0.2)), name)
        assert (read.layers[0] == mask).all(), name


def test_several_labels_of_one_mask_are_several_rois(tmp_path):
    two = blob() + blob(top=18, height=4, label=2)
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a_mask.nrrd": volume(two, ".nrrd", tmp_path)})
    assert {(roi.label, roi.area_px) for roi in clinic.look().rois} == {(1, 48), (2, 32)}


def test_a_palette_with_three_labels_means_its_indices(tmp_path):
    two = blob() + blob(top=18, height=4, label=2)
    content = palette_png(two, [(0, 0, 0), (1, 1, 1), (2, 2, 2)])
    assert np.unique(read_mask(content, "m.png").layers[0]).tolist() == [0, 1, 2]


BAD = {
    "empty file": (b"", "m.png", "empty"),
    "no picture": (b"hello", "m.png", "mask_unreadable"),
    "cut picture": (png(blob(label=255))[:60], "m.png", "mask_unreadable"),
    "cut volume": (
        b"NRRD0005\ntype: uchar\ndimension: 2\nsizes: 32 24\nencoding: raw\n\n\x00",
        "m.nrrd",
        "mask_unreadable",
    ),
    "pixels elsewhere": (
        b"NRRD0005\ntype: uchar\ndimension: 2\nsizes: 32 24\nencoding: raw\ndata file: /etc/passwd\n\n",
        "m.nrrd",
        "mask_unreadable",
    ),
    "pixels elsewhere, mha": (
        b"NDims = 2\nDimSize = 32 24\nElementType = MET_UCHAR\nElementDataFile = other.raw\n",
        "m.mha",
        "mask_unreadable",
    ),
    "nothing marked": (png(blob(label=0)), "m.png", "mask_empty"),
    "everything marked": (png(np.full(SHAPE, 255, dtype=np.uint8)), "m.png", "mask_covers_image"),
    "other size": (png(blob((30, 40))), "m.png", "mask_mismatch"),
    "turned": (png(blob().T.copy()), "m.png", "mask_mismatch"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mask_that_cannot_be_used_is_refused_with_its_reason(case, tmp_path):
    content, name, reason = BAD[case]
    name = name.replace("m.", "a_mask.")
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), name: content})
    intake = clinic.look()
    assert clinic.states() == {"a.dcm": ("ingested", ""), name: ("quarantined", reason)}
    assert intake.rois == []
    assert "no_mask" in {reason for reason, _ in clinic.open_asides()}
    assert clinic.look().is_empty


def test_a_volume_of_several_slices_is_no_mask_of_a_picture(tmp_path):
    content = volume(np.stack([blob(), blob()]), ".nrrd", tmp_path)
    with pytest.raises(RefusedError) as caught:
        read_mask(content, "m.nrrd")
    assert (caught.value.reason, caught.value.detail) == (Reason.MASK_UNREADABLE, "3 dimensions")


def test_the_image_itself_saved_as_a_volume_is_no_mask(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a.nrrd": volume(pixels(1), ".nrrd", tmp_path)})
    assert clinic.look().rois == []
    assert clinic.states()["a.nrrd"] == ("quarantined", "mask_unreadable")


def test_a_cropped_segmentation_is_placed_by_its_origin(tmp_path):
    """3D Slicer saves a segmentation as small as its segments: spacing 0.2 x 0.1, origin in millimetres."""
    crop = np.ones((1, 6, 8), dtype=np.uint8)
    content = volume(crop, ".nrrd", tmp_path, spacing=(0.2, 0.1, 1.0), origin=(10 * 0.2, 8 * 0.1, 0.0))
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a.seg.nrrd": content})
    [roi] = clinic.look().rois
    assert (cache.read_mask(tmp_path / "pixels", roi.roi_key) == DRAWN).all()


def test_a_cropped_segmentation_that_reaches_outside_its_image_is_refused(tmp_path):
    content = volume(np.ones((1, 6, 8), dtype=np.uint8), ".nrrd", tmp_path, origin=(28.0, 8.0, 0.0))
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a.seg.nrrd": content})
    clinic.look()
    assert clinic.states()["a.seg.nrrd"] == ("quarantined", "mask_mismatch")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.uint32, np.int64, np.float32, np.float64])
def test_a_label_image_of_any_type_is_the_same_labels(kind, tmp_path):
    labels = read_mask(volume((7 * blob()).astype(kind)[np.newaxis], ".nrrd", tmp_path), "a.nrrd")
    assert (labels.layers[0] == 7 * DRAWN).all()
    assert np.issubdtype(labels.layers[0].dtype, np.integer)


@pytest.mark.parametrize("label", [2**31, 2**32 + 1])
def test_a_label_beyond_32_bits_is_refused_and_is_no_other_label(label, tmp_path):
    content = volume((label * blob().astype(np.int64))[np.newaxis], ".nrrd", tmp_path)
    with pytest.raises(RefusedError) as refused:
        read_mask(content, "a.nrrd")
    assert (refused.value.reason, refused.value.detail) == (Reason.MASK_UNREADABLE, "labels beyond 2147483647")


def test_overlapping_segments_lie_in_layers_and_each_is_a_roi(tmp_path):
    import SimpleITK

    layers = np.stack([blob(), blob(left=14)], axis=-1)[np.newaxis]
    picture = SimpleITK.GetImageFromArray(layers, isVector=True)
    SimpleITK.WriteImage(picture, str(tmp_path / "x.nrrd"))
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a.seg.nrrd": (tmp_path / "x.nrrd").read_bytes()})
    assert {(roi.label, roi.area_px) for roi in clinic.look().rois} == {(1, 48), (257, 48)}


def test_a_mask_of_the_size_of_the_region_fits_the_crop(tmp_path):
    box = (4, 2, 27, 21)
    clinic = hospital(tmp_path, {"a.dcm": dicom(1, regions=[region(box)]), "a_mask.png": png(blob((20, 24)))})
    [roi] = clinic.look().rois
    assert (cache.read_mask(tmp_path / "pixels", roi.roi_key) == blob((20, 24)).astype(bool)).all()


def test_a_mask_outside_the_ultrasound_region_is_refused(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1, regions=[region((12, 2, 27, 21))]), "a_mask.png": png(blob(left=1))})
    clinic.look()
    assert clinic.states()["a_mask.png"] == ("quarantined", "mask_outside_region")


def test_a_small_label_outside_the_region_is_not_dropped_beside_a_large_one_inside(tmp_path):
    large = blob((120, 160), top=30, left=60, height=80, width=90)
    large[5, 5] = 2
    clinic = hospital(
        tmp_path,
        {
            "a.dcm": dicom(1, array=pixels(1, (120, 160)), regions=[region((40, 20, 159, 119))]),
            "a_mask.png": png(large),
        },
    )
    clinic.look()
    assert clinic.states()["a_mask.png"] == ("quarantined", "mask_outside_region")


def test_of_two_regions_the_one_that_holds_the_mask_gives_crop_and_spacing(tmp_path):
    regions = [region((0, 0, 15, 23), (0.01, 0.01)), region((16, 0, 31, 23), (0.02, 0.03))]
    files = {"a.dcm": dicom(1, regions=regions), "a_mask.png": png(blob(left=20, width=8))}
    clinic = hospital(tmp_path, files)
    [image] = clinic.look().images
    assert (image.columns_px, image.spacing_x_mm, image.spacing_y_mm) == (16, 0.2, 0.3)


def test_a_mask_over_two_regions_is_ambiguous(tmp_path):
    regions = [region((0, 0, 15, 23), (0.01, 0.01)), region((16, 0, 31, 23), (0.02, 0.03))]
    clinic = hospital(tmp_path, {"a.dcm": dicom(1, regions=regions), "a_mask.png": png(blob(left=12, width=8))})
    clinic.look()
    assert clinic.states()["a_mask.png"] == ("quarantined", "spacing_ambiguous")


def test_a_mask_that_comes_later_moves_the_crop_to_its_region(tmp_path):
    regions = [region((0, 0, 15, 23), (0.01, 0.01)), region((16, 0, 31, 23), (0.02, 0.03))]
    clinic = hospital(tmp_path, {"a.dcm": dicom(1, regions=regions)})
    assert clinic.look().images[0].spacing_x_mm == 0.1
    put(clinic.archive, {"a_mask.png": png(blob(left=20, width=8))})
    second = clinic.look()
    assert [image.spacing_x_mm for image in second.images] == [0.2]
    assert len(second.rois) == 1
    assert clinic.look().is_empty


def test_several_readers_are_all_kept(tmp_path):
    files = {"a.dcm": dicom(1), "a_r1.png": png(blob()), "a_r2.png": png(blob(left=12))}
    clinic = hospital(tmp_path, files, masks=["archive"])
    rois = clinic.look().rois
    assert [(roi.reader, roi.label) for roi in rois] == [("r1", 1), ("r2", 1)]
    assert len({roi.roi_key for roi in rois}) == 2
    assert {reason for reason, _ in clinic.open_asides()} == set()


def test_a_readers_name_becomes_a_keyed_hash():
    keys = Pseudonyms(b"k" * 32)
    assert reader_code("", keys) == "r1"
    assert reader_code("R2", keys) == "R2"
    assert reader_code("mueller", keys).startswith("k1-")


def test_a_second_mask_of_one_reader_and_label_is_a_conflict(tmp_path):
    files = {"a.dcm": dicom(1), "a_mask.png": png(blob()), "a_seg.png": png(blob(left=12))}
    clinic = hospital(tmp_path, files)
    assert len(clinic.look().rois) == 1
    assert sorted(state for name, state in clinic.states().items() if name.endswith("png")) == [
        ("ingested", ""),
        ("quarantined", "content_conflict"),
    ]


def test_numbered_masks_of_one_image_are_different_lesions(tmp_path):
    files = {"a.dcm": dicom(1), "a_mask.png": png(blob()), "a_mask_1.png": png(blob(left=20))}
    clinic = hospital(tmp_path, files)
    assert {roi.label for roi in clinic.look().rois} == {1, 2}


def test_a_redrawn_mask_is_a_new_row_of_the_same_roi(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a_mask.png": png(blob())})
    [first] = clinic.look().rois
    put(clinic.archive, {"a_mask.png": png(blob(width=9))})
    second = clinic.look()
    assert [(roi.roi_key, roi.area_px) for roi in second.rois] == [(first.roi_key, 54)]
    assert second.images == []


def test_a_mask_waits_without_its_image_and_is_fitted_when_it_comes(tmp_path):
    clinic = hospital(tmp_path, {"z.dcm": dicom(2), "a_mask.png": png(blob())})
    assert clinic.look().rois == []
    assert clinic.states()["a_mask.png"] == ("quarantined", "mask_without_image")
    put(clinic.archive, {"a.dcm": dicom(1)})
    second = clinic.look()
    assert len(second.rois) == 1
    resolved = [aside for aside in second.set_aside if aside.resolved_at is not None]
    assert [aside.reason for aside in resolved] == [Reason.MASK_WITHOUT_IMAGE]


def test_a_mask_of_two_images_of_one_name_belongs_to_the_one_in_its_folder(tmp_path):
    files = {"p1/a.dcm": dicom(1), "p2/a.dcm": dicom(2), "p2/a_mask.png": png(blob())}
    clinic = hospital(tmp_path, files)
    [roi] = clinic.look().rois
    assert roi.image_key == clinic.entry("p2/a.dcm").image_key


def test_a_mask_named_after_a_copy_belongs_to_the_image(tmp_path):
    clinic = hospital(tmp_path, {"a_copy.dcm": dicom(1), "scan.dcm": dicom(1), "scan_mask.png": png(blob())})
    [roi] = clinic.look().rois
    assert clinic.states()["scan.dcm"] == ("duplicate", "duplicate_of")
    assert roi.image_key == clinic.entry("a_copy.dcm").image_key
    assert clinic.look().is_empty


def test_a_mask_named_after_a_copy_of_an_earlier_look_belongs_to_the_image(tmp_path):
    clinic = hospital(tmp_path, {"a_copy.dcm": dicom(1), "scan.dcm": dicom(1)})
    clinic.look()
    put(clinic.archive, {"scan_mask.png": png(blob())})
    assert len(clinic.look().rois) == 1


def test_a_folder_that_was_copied_with_its_masks_is_duplicates_and_nothing_else(tmp_path):
    files = {"a.dcm": dicom(1), "a_mask.png": png(blob()), "b.dcm": dicom(2), "b_mask.png": png(blob())}
    clinic = hospital(tmp_path, {f"{folder}/{name}": content for folder in "xy" for name, content in files.items()})
    intake = clinic.look()
    assert (len(intake.images), len(intake.rois)) == (2, 2)
    assert {state for name, state in clinic.states().items() if name[0] == "y"} == {("duplicate", "duplicate_of")}
    for name in files:
        (clinic.archive / "x" / name).unlink()
    second = clinic.look()
    assert {state for name, state in clinic.states().items() if name[0] == "y"} == {("ingested", "")}
    assert (second.images, second.rois) == ([], [])


def test_a_mask_that_was_moved_with_its_image_is_no_news(tmp_path):
    files = {"x/a.dcm": dicom(1), "x/a_mask.png": png(blob()), "b.dcm": dicom(2), "c.dcm": dicom(3)}
    clinic = hospital(tmp_path, files)
    clinic.look()
    (clinic.archive / "x").rename(clinic.archive / "y")
    second = clinic.look()
    assert clinic.states()["y/a_mask.png"] == ("ingested", "")
    assert (second.images, second.rois) == ([], [])
    assert clinic.look().is_empty


def test_a_mask_redrawn_while_it_was_gone_is_news(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a_mask.png": png(blob()), "b.dcm": dicom(2)})
    clinic.look()
    (clinic.archive / "a_mask.png").unlink()
    clinic.look()
    put(clinic.archive, {"a_mask.png": png(blob(width=9))})
    assert [roi.area_px for roi in clinic.look().rois] == [54]


def test_an_accent_in_one_character_or_in_two_is_the_same_name(tmp_path):
    files = {"M\u00fcller.dcm": dicom(1), "Mu\u0308ller_mask.png": png(blob())}
    assert len(hospital(tmp_path, files).look().rois) == 1


def test_a_mask_that_could_belong_to_two_images_is_refused(tmp_path):
    files = {"p1/a.dcm": dicom(1), "p2/a.dcm": dicom(2), "drawn/a_mask.png": png(blob())}
    clinic = hospital(tmp_path, files)
    assert clinic.look().rois == []
    assert clinic.states()["drawn/a_mask.png"] == ("quarantined", "mask_without_image")


def test_the_frame_that_a_mask_names_is_the_frame_that_is_taken(tmp_path):
    clip = pixels(5, (6, *SHAPE))
    files = {"a.dcm": dicom(1, array=clip), "a_r1_f002.png": png(blob()), "b.dcm": dicom(2, array=clip)}
    clinic = hospital(tmp_path, files, masks=["archive"])
    intake = clinic.look()
    frames = {image.image_key: image.frame for image in intake.images}
    assert frames[clinic.entry("a.dcm").image_key] == 2
    assert frames[clinic.entry("b.dcm").image_key] == 3  # nobody says which: the middle one
    kept = cache.read_image(tmp_path / "pixels", clinic.entry("a.dcm").image_key)
    assert (kept == clip[2]).all()


def test_masks_of_two_frames_of_one_clip_are_not_mixed(tmp_path):
    files = {
        "a.dcm": dicom(1, array=pixels(5, (6, *SHAPE))),
        "a_r1_f002.png": png(blob()),
        "a_r1_f004.png": png(blob(left=12)),
    }
    clinic = hospital(tmp_path, files, masks=["archive"])
    assert len(clinic.look().rois) == 1
    assert sorted(reason for _, reason in clinic.states().values()) == ["", "", "mask_mismatch"]


@pytest.mark.parametrize(
    ("stem", "match"),
    [
        ("a_mask", Match("a", "")),
        ("a_1_r1", Match("a_1", "r1")),
        ("a_seg_r2_f012", Match("a", "r2", 12)),
        ("a_tumor", Match("a", "")),
        ("a", Match("a", "")),
        ("a_mask_1", Match("a", "", None, 1)),
        ("ab_mask", None),
        ("A_mask", None),
    ],
)
def test_a_masks_stem_is_its_images_and_endings_that_are_known(stem, match):
    assert match_stem(stem, {"a", "a_1"}) == match


@pytest.mark.parametrize("offset", [None, (3, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_labels_come_to_another_process_as_they_are_without_their_background(offset, dtype):
    drawn, empty, full = (np.zeros((200, 300), dtype=dtype) for _ in range(3))
    drawn[50:60, 299], drawn[199, 7], full[:] = 2, 1, 7
    sent = pickle.dumps(LabelImage((drawn, empty), offset))
    assert len(sent) < drawn.nbytes
    for labels in (LabelImage((drawn, empty), offset), LabelImage((full,), offset)):
        come = pickle.loads(pickle.dumps(labels))
        assert come.offset_px == offset
        assert all(np.array_equal(one, other) for one, other in zip(come.layers, labels.layers, strict=True))
        assert {layer.dtype for layer in come.layers} == {np.dtype(dtype)}


def test_a_mask_for_whose_copy_there_is_no_room_is_looked_at_again(tmp_path):
    """A small one, too: its bytes meet the full disk when they leave the buffer."""
    small = volume(blob(), ".nrrd", tmp_path)
    for content in (small, small + bytes(100_000)):
        with pytest.raises(RefusedError) as refusal, files_no_larger_than(500):
            read_mask(content, "mask.nrrd")
        assert refusal.value.reason is Reason.IO_ERROR


@pytest.mark.parametrize("stray", [(0, 30), (59, 30), (30, 0), (30, 79), (0, 0), (59, 79)])
def test_what_little_of_a_mask_lies_outside_its_region_is_cut_off(stray):
    layer = np.zeros((60, 80), dtype=np.uint8)
    layer[20:40, 25:55] = 3
    layer[stray] = 3
    window = Region(1, 59, 1, 79, None, None, SpacingSource.NONE)
    assert {label: mask.tolist() for label, mask in fit_mask(LabelImage((layer,)), window, layer.shape).items()} == {
        3: (layer[1:59, 1:79] == 3).tolist()
    }


@pytest.mark.parametrize("box", [(0, 30, 0, 80), (30, 60, 0, 80), (0, 60, 0, 40), (0, 60, 40, 80), (0, 10, 0, 10)])
def test_a_mask_that_lies_in_part_outside_its_region_is_refused(box):
    layer = np.zeros((60, 80), dtype=np.uint8)
    layer[20:40, 25:55] = 1
    with pytest.raises(RefusedError) as refusal:
        fit_mask(LabelImage((layer,)), Region(*box, None, None, SpacingSource.NONE), layer.shape)
    assert refusal.value.reason is Reason.MASK_OUTSIDE_REGION
