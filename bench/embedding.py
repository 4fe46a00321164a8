"""Embeddings a second on one core, beside the network's arithmetic and what this machine's matrix product reaches.

Run: python bench/embedding.py [backbone ...]   (default: all)

`[deep] precision = "bfloat16"` pays where its column is faster; a program whose embeddings it moves is refused.
"""

import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"
sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a file in it is named radiomics

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from clnm.features.crops import SIZE_PX
from clnm.features.deep import embed
from clnm.features.networks import BACKBONES, as_input, build, load_network, save_weights
from clnm.features.program import write_program

ROUNDS, BATCH = 7, 16


def main() -> None:
    torch.set_num_threads(1)
    names = ("torch", "monai", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}; one thread")
    peak = matrix_product()
    print(f"matrix product 1024 x 1024 in float32: {peak / 1e9:.0f} GFLOP/s; crops {SIZE_PX} x {SIZE_PX}\n")
    print("backbone         length  GFLOP  images/s alone  in 16s   of the product  bf16 in 16s  bf16 cosine distance")
    for backbone in sys.argv[1:] or BACKBONES:
        measure(backbone, peak)


def measure(backbone: str, peak: float) -> None:
    crops = np.random.default_rng(0).random((BATCH, SIZE_PX, SIZE_PX), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        torch.manual_seed(0)
        save_weights(build(backbone).state_dict(), weights)
        network = load_network(backbone, weights).to(memory_format=torch.channels_last)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(as_input(crops[:1]))
        flop = counter.get_total_flops()
        exact, rounded = (
            write_program(backbone, weights, Path(folder) / precision, precision=precision)
            for precision in ("float32", "bfloat16")
        )
        alone, together, halved = interleaved(
            lambda: embed(crops[:1], exact, device="cpu"),
            lambda: embed(crops, exact, device="cpu"),
            lambda: embed(crops, rounded, device="cpu"),
        )
        distance = cosine_distance(embed(crops, exact, device="cpu"), embed(crops, rounded, device="cpu"))
    rate, of_product = BATCH / together, BATCH / together * flop / peak
    print(
        f"{backbone:16} {BACKBONES[backbone]:6} {flop / 1e9:6.1f} {1 / alone:15.1f} {rate:7.1f} {of_product:15.0%}"
        f" {BATCH / halved:12.1f} {distance:21.1e}"
    )


def matrix_product() -> float:
    """FLOP a second."""
    left, right = torch.rand(1024, 1024), torch.rand(1024, 1024)
    [seconds] = interleaved(lambda: left @ right)
    return 2 * 1024**3 / seconds


def interleaved(*calls) -> list[float]:
    """Median CPU seconds of each, turn by turn."""
    spent = [[] for _ in calls]
    for number in range(ROUNDS + 1):
        for seconds, call in zip(spent, calls, strict=True):
            began = time.process_time()
            call()
            if number:
                seconds.append(time.process_time() - began)
    return [float(np.median(seconds)) for seconds in spent]


def cosine_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest of all rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((1 - (one * other).sum(axis=1) / lengths).max())


if __name__ == "__main__":
    main()
