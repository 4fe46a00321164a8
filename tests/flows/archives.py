"""Small installations for the end-to-end tests: a simulated one, and one over the real BUS-BRA pictures."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clnm.settings import default_radiomics, make_pseudonym_key

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

SMALL_RADIOMICS = """\
imageType:
  Original: {}
  LoG: {sigma: [1.0, 3.0]}
  Wavelet: {}
featureClass: {firstorder: , shape2D: , glcm: , glrlm: , glszm: , gldm: , ngtdm: }
setting: {binCount: 32, label: 1}
"""


OF_PICTURES = """
[store]
root = "store"
[pseudonyms]
key_file = "secrets/pseudonym.key"
[outcome]
name = "malignant"
"""
"""The head of an installation whose pictures are drawn."""


def draw(folder, name, shape, radius, generator, day=1):
    """A speckle picture, and the mask of an ellipse in its middle; the table's line of both."""
    speckle = generator.rayleigh(40.0, shape).clip(0, 255).astype(np.uint8)
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = ((y - shape[0] / 2) / radius) ** 2 + ((x - shape[1] / 2) / (1.3 * radius)) ** 2 < 1
    Image.fromarray(speckle).save(folder / f"{name}.png", compress_level=1)
    Image.fromarray(inside.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")
    return f"pictures/{name}.png,pictures/{name}_mask.png,{name},2025-03-0{day}"


def busbra(directory: Path, *, radiomics: str = "", deep: bool = False) -> Path:
    """A project over BUS-BRA: one center per scanner, malignant is the outcome, one index table per center."""
    source = SHARED / "busbra"
    if not source.is_dir():
        pytest.skip("the real pictures of shared/data/busbra are not here")
    images = {path.stem: path for path in source.rglob("*.png") if path.stem.startswith("bus_")}
    with (source / "bus_data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    devices = sorted({row["Device"] for row in rows})
    roles = dict(zip(devices, ("train", "train", "external", "external"), strict=True))
    text = [
        '[store]\nroot = "store"',
        '[pseudonyms]\nkey_file = "secrets/pseudonym.key"',
        '[outcome]\nname = "malignant"',
        f"[deep]\nenabled = {str(deep).lower()}",
    ]
    for number, device in enumerate(devices, start=1):
        center = f"B{number}"
        mine = [row for row in rows if row["Device"] == device]
        _write_center(directory / center, center, mine, images)
        text.append(
            f'[[center]]\nname = "{center}"\nrole = "{roles[device]}"\narchive = ["{center}/pictures"]\n'
            f'index = "{center}/images.csv"\nclinical = "{center}/clinical.csv"\n'
            '[center.columns]\npatient = "Case"\nmalignant = "Pathology"\n'
            "[center.values.malignant]\nmalignant = 1\nbenign = 0\n"
        )
    text.append('[clinical]\nside = { type = "category", levels = ["left", "right"] }\n')
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    (directory / "radiomics.yaml").write_text(radiomics or default_radiomics(), encoding="utf-8")
    (directory / "clnm.toml").write_text("\n".join(text), encoding="utf-8")
    return directory / "clnm.toml"


def _write_center(folder: Path, center: str, rows: list[dict[str, str]], images: dict[str, Path]) -> None:
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    first = datetime(2025, 1, 1, tzinfo=UTC)
    with (folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "mask", "Case", "acquired_on", "model"])
        for row in rows:
            image = images[row["ID"]]
            mask = image.parent.parent / "Masks" / row["ID"].replace("bus_", "mask_", 1)
            for path in (image, mask.with_suffix(".png")):
                (pictures / path.name).write_bytes(path.read_bytes())
            day = first + timedelta(days=int(row["Case"]) % 300)
            table.writerow(
                [
                    f"pictures/{image.name}",
                    f"pictures/{mask.with_suffix('.png').name}",
                    row["Case"],
                    f"{day:%Y-%m-%d}",
                    row["Device"],
                ]
            )
    with (folder / "clinical.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Case", "Pathology", "side"])
        seen = set()
        for row in rows:
            if row["Case"] not in seen:
                seen.add(row["Case"])
                table.writerow([row["Case"], row["Pathology"], row["Side"]])
