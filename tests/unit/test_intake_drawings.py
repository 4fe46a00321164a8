"""DICOM segmentations and labelme drawings as masks: what they say they were drawn on, and what they mark."""

import io
import json

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from clnm.entities import Reason
from clnm.imaging.drawings import read_drawing
from clnm.imaging.refusal import RefusedError
from clnm.imaging.segmentations import SEGMENTATION, read_segmentation
from tests.unit.intake_archives import EXPLICIT, ROOT, SHAPE, SHARED, US_CLIP, US_IMAGE, blob, dicom, hospital, pixels

REAL = SHARED / "dicom_seg_rtstruct" / "highdicom" / "seg_image_cr_binary.dcm"


def reference(uid, sop_class=US_IMAGE, frame=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def segmentation(*frames, on=None, number=900, author="Doe^Reader", kind="BINARY", **elements):
    """A segmentation of some (segment, array) frames, packed one bit a pixel, drawn on one instance."""
    on = on or reference(f"{ROOT}.3.1")
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SEGMENTATION, f"{ROOT}.9.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.2.1", f"{ROOT}.8.{number}"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "Doe^Jane1", "SEG"
    dataset.ContentCreatorName = author
    dataset.SegmentationType = kind
    arrays = np.stack([array for _, array in frames])
    dataset.Rows, dataset.Columns = arrays.shape[1:]
    dataset.NumberOfFrames = len(arrays)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    if kind == "BINARY":
        dataset.BitsAllocated = dataset.BitsStored = 1
        packed = np.packbits((arrays > 0).ravel(), bitorder="little").tobytes()
    else:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.MaximumFractionalValue = 200
        packed = arrays.astype(np.uint8).tobytes()
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = packed + b"\x00" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"
    groups = []
    for segment, _ in frames:
        group, named, derivation = Dataset(), Dataset(), Dataset()
        named.ReferencedSegmentNumber = segment
        group.SegmentIdentificationSequence = Sequence([named])
        derivation.SourceImageSequence = Sequence([on])
        group.DerivationImageSequence = Sequence([derivation])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    dataset.file_meta.MediaStorageSOPClassUID = SEGMENTATION
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_a_segmentation_finds_its_image_by_its_reference_whatever_its_name(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "b.dcm": dicom(2), "0/export_17": segmentation((1, blob()))})
    intake = clinic.look()
    [roi] = intake.rois
    assert roi.image_key == clinic.entry("a.dcm").image_key
    assert (roi.label, roi.area_px) == (1, 48)
    assert clinic.states()["0/export_17"] == ("ingested", "")
    assert clinic.look().is_empty


def test_the_reader_of_a_segmentation_is_a_keyed_hash(tmp_path):
    second = segmentation((1, blob(top=9)), author="Roe^Other", number=901)
    files = {"a.dcm": dicom(1), "x": segmentation((1, blob())), "y": second}
    readers = {roi.reader for roi in hospital(tmp_path, files).look().rois}
    assert len(readers) == 2
    assert all(reader.startswith("k1-") for reader in readers)


def test_segments_keep_their_numbers_and_overlapping_ones_lie_in_layers(tmp_path):
    frames = [(1, blob()), (3, blob(top=16, left=2, height=4, width=4)), (2, blob(top=9))]
    rois = hospital(tmp_path, {"a.dcm": dicom(1), "s": segmentation(*frames)}).look().rois
    assert {roi.label: roi.area_px for roi in rois} == {1: 48, 3: 16, 2 + 256: 48}


def test_of_a_fractional_segmentation_what_is_at_least_half_counts():
    soft = np.zeros(SHAPE)
    soft[2, :4] = [99, 100, 150, 200]
    labels = read_segmentation(segmentation((1, soft), kind="FRACTIONAL")).labels
    assert labels.layers[0][2, :5].tolist() == [0, 1, 1, 1, 0]


def test_a_segmentation_of_an_image_that_is_not_here_waits_for_it(tmp_path):
    clinic = hospital(tmp_path, {"b.dcm": dicom(2), "b_seg": segmentation((1, blob()))})
    clinic.look()
    assert clinic.states()["b_seg"] == ("quarantined", "mask_without_image")
    (clinic.archive / "a.dcm").write_bytes(dicom(1))
    assert len(clinic.look().rois) == 1
    assert clinic.states()["b_seg"] == ("ingested", "")


def test_a_segmentation_without_a_reference_belongs_to_the_image_of_its_name(tmp_path):
    dataset = dcmread(io.BytesIO(segmentation((1, blob()))))
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    file = io.BytesIO()
    dataset.save_as(file)
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "b.dcm": dicom(2), "b_seg.dcm": file.getvalue()})
    assert [roi.image_key for roi in clinic.look().rois] == [clinic.entry("b.dcm").image_key]


def test_a_segmentation_of_the_middle_frame_of_a_clip_fits_and_of_another_does_not(tmp_path):
    clip = dicom(1, array=np.stack([pixels(n) for n in range(5)]), SOPClassUID=US_CLIP)
    right = segmentation((1, blob()), on=reference(f"{ROOT}.3.1", US_CLIP, 3))
    wrong = segmentation((1, blob()), on=reference(f"{ROOT}.3.1", US_CLIP, 1), number=901)
    clinic = hospital(tmp_path, {"a.dcm": clip, "right": right, "wrong": wrong})
    assert len(clinic.look().rois) == 1
    assert clinic.states()["wrong"] == ("quarantined", "mask_without_image")


def test_a_segmentation_of_a_ct_is_ignored(tmp_path):
    on_ct = segmentation((1, blob()), on=reference("1.2.3", "1.2.840.10008.5.1.4.1.1.2"))
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "s": on_ct})
    clinic.look()
    assert clinic.states()["s"] == ("ignored", "sop_class")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (segmentation((1, blob()))[:-20], "truncated_pixels"),
        (segmentation((1, blob()), (1, blob())), "mask_unreadable"),  # two slices of one segment
        (segmentation((1, blob() * 0)), "mask_empty"),
        (segmentation((1, blob((10, 10), top=1, left=1))), "mask_mismatch"),
        (segmentation((1, blob()), NumberOfFrames=3), "truncated_pixels"),
        (segmentation((1, blob()), PerFrameFunctionalGroupsSequence=Sequence([])), "mask_unreadable"),
    ],
)
def test_a_segmentation_that_cannot_be_used_says_why(tmp_path, content, reason):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "a_s": content})
    clinic.look()
    assert clinic.states()["a_s"] == ("quarantined", reason)


def test_a_real_segmentation_by_highdicom_is_read_as_its_maker_reads_it(tmp_path):
    if not REAL.is_file():
        pytest.skip("the real files of shared/data/dicom_seg_rtstruct are not here")
    dataset = dcmread(REAL)
    marked = dataset.pixel_array.reshape(dataset.Rows, dataset.Columns)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = US_IMAGE, f"{ROOT}.3.1"
    file = io.BytesIO()
    dataset.save_as(file)
    image = dicom(1, array=pixels(1, marked.shape))
    [roi] = hospital(tmp_path, {"a.dcm": image, "s.dcm": file.getvalue()}).look().rois
    assert roi.area_px == int(marked.sum()) > 0


def drawing(*shapes, size=SHAPE, **told):
    made = [
        {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}
        for label, kind, points in shapes
    ]
    return json.dumps(
        {"version": "5.4", "imageData": "cGF0aWVudA==", "imagePath": "Doe.png", "shapes": made}
        | {"imageHeight": size[0], "imageWidth": size[1]}
        | told
    )


BOX = [[10, 8], [17, 8], [17, 13], [10, 13]]


def test_a_labelme_polygon_marks_what_labelme_itself_exports(tmp_path):
    intake = hospital(tmp_path, {"a.dcm": dicom(1), "a.json": drawing(("tumor", "polygon", BOX))}).look()
    [roi] = intake.rois
    assert (roi.label, roi.area_px) == (1, 48)  # columns 10 to 17, rows 8 to 13, the outline included


def test_labels_of_a_drawing_are_numbered_in_the_order_of_their_words():
    labels = read_drawing(
        drawing(
            ("node", "polygon", BOX), ("cyst", "rectangle", [[5, 3], [2, 1]]), ("node", "circle", [[25, 5], [27, 5]])
        )
    )
    [layer] = labels.layers
    assert layer[2, 3] == 1
    assert layer[10, 12] == layer[5, 25] == 2
    assert (layer == 1).sum() == 4 * 3


def test_overlapping_drawings_lie_in_layers():
    labels = read_drawing(drawing(("a", "polygon", BOX), ("b", "polygon", BOX)))
    assert [int(layer.max()) for layer in labels.layers] == [1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"patients": []}', Reason.NOT_AN_IMAGE),
        ("[1, 2]", Reason.NOT_AN_IMAGE),
        ("{", Reason.NOT_AN_IMAGE),
        (drawing(("a", "line", BOX[:2])), Reason.MASK_UNREADABLE),
        (drawing(("a", "polygon", BOX[:2])), Reason.MASK_UNREADABLE),
        (drawing(("a", "polygon", [[0, 0], [1, "x"], [2, 2]])), Reason.MASK_UNREADABLE),
        (drawing(("a", "polygon", [[0, 0], [1, float("nan")], [2, 2]])), Reason.MASK_UNREADABLE),
        (drawing(("a", "polygon", BOX), imageHeight=None), Reason.MASK_UNREADABLE),
        (drawing(("a", "polygon", BOX), size=(100_000, 100_000)), Reason.TOO_LARGE),
    ],
)
def test_a_drawing_that_cannot_be_used_says_why(content, reason):
    with pytest.raises(RefusedError) as caught:
        read_drawing(content.encode())
    assert caught.value.reason is reason


def test_a_drawing_of_another_size_or_of_nothing_is_refused(tmp_path):
    files = {
        "a.dcm": dicom(1),
        "a.json": drawing(("tumor", "polygon", BOX), size=(240, 320)),
        "b.dcm": dicom(2),
        "b.json": drawing(),
        "notes.json": "{}",
    }
    clinic = hospital(tmp_path, files)
    clinic.look()
    states = clinic.states()
    assert states["a.json"] == ("quarantined", "mask_mismatch")
    assert states["b.json"] == ("quarantined", "mask_empty")
    assert states["notes.json"] == ("ignored", "not_an_image")
