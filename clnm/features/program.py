"""A backbone with its weights as one file that torch runs by itself: MONAI builds it once, no worker imports MONAI.

Importing MONAI takes longer than extracting a hundred ROIs, and it would be imported wherever a worker starts.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clnm.errors import ConfigurationError
from clnm.features.crops import SIZE_PX
from clnm.features.networks import load_network

BATCH = 8
"""A program takes as many crops, no more and no fewer: for another number torch may take another algorithm, which
rounds otherwise, and a crop's embedding would depend on its neighbours."""
PRECISIONS = ("float32", "bfloat16")
_MAX_COSINE_DISTANCE = 1e-3
"""Between an embedding in bfloat16 and the same in float32."""


def write_program(backbone: str, weights: Path, directory: Path, *, precision: str = "float32") -> Path:
    """The program of a network; made where there is none yet, and then the only one of `directory`.

    Args:
        backbone: a MONAI network.
        weights: a .safetensors file or a torch state dict.
        directory: where it is kept, under a name that follows from everything it depends on.
        precision: of the arithmetic; embeddings are float32 in any case.

    Raises:
        ConfigurationError: the weights are not of the backbone, or bfloat16 changes embeddings too much.
    """
    facts = (backbone, precision, str(BATCH), str(SIZE_PX), version("torch"), version("monai"))
    digest = hashlib.sha256("\n".join(facts).encode() + weights.read_bytes()).hexdigest()
    path = directory / f"{backbone}-{precision}-{digest[:16]}.pt2"
    if not _is_whole(path):
        directory.mkdir(parents=True, exist_ok=True)
        _export(load_network(backbone, weights), precision, path)
        for other in set(directory.iterdir()) - {path}:
            other.unlink()
    return path


@functools.lru_cache(maxsize=2)
def load_program(path: Path, device: str) -> Any:
    """A callable from (8, 3, S, S) to (8, D), both float32 on `device`."""
    import torch.export
    from torch.export.passes import move_to_device_pass

    torch.set_num_threads(1)  # one worker, one core; with more, additions come in another order
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # three digits are not enough
    program = torch.export.load(path)
    module = (program if device == "cpu" else move_to_device_pass(program, device)).module()
    return module.to(memory_format=torch.channels_last)


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _export(network: Any, precision: str, path: Path) -> None:
    import torch

    crops = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = network(crops)
    if precision == "bfloat16":
        network = _in_bfloat16(network)
        with torch.inference_mode():
            distance = float((1 - torch.nn.functional.cosine_similarity(exact, network(crops))).max())
        if distance >= _MAX_COSINE_DISTANCE:
            raise ConfigurationError(
                f"[deep] precision: bfloat16 moves embeddings of this network by a cosine distance of {distance:.1e}, "
                f'{_MAX_COSINE_DISTANCE:.0e} is allowed; set "float32"'
            )
    with torch.no_grad():
        program = torch.export.export(network, (crops,))
    scratch = path.with_name(path.name + ".scratch")
    with scratch.open("wb") as file:
        torch.export.save(program, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)


def _in_bfloat16(network: Any) -> Any:
    import torch

    class InBfloat16(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network.to(torch.bfloat16)

        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            return self.network(crops.to(torch.bfloat16)).float()

    return InBfloat16()
