"""Embeddings a second, on one core and on a CUDA device where there is one, beside what a matrix product reaches.

Run: python bench/embedding.py [backbone ...]   (default: all)

`[deep] precision = "bfloat16"` pays where its column is faster; a program whose embeddings it moves is refused.
"""

import functools
import os
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"
sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a file in it is named radiomics

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from clnm.errors import ConfigurationError
from clnm.features.crops import SIZE_PX
from clnm.features.deep import embed
from clnm.features.networks import BACKBONES, as_input, load_network
from clnm.features.program import write_program
from tests.networks import write_weights

ROUNDS = 7
CROPS = {"cpu": 16, "cuda": 512}
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the matrices whose product says what the device can do."""


def main() -> None:
    torch.set_num_threads(1)
    names = ("torch", "monai", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}; one thread")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        peak = matrix_product(device)
        print(
            f"\n{torch.cuda.get_device_name() if device == 'cuda' else 'one core'}: matrix product {SIDE[device]} x "
            f"{SIDE[device]} in float32 {peak / 1e9:.0f} GFLOP/s; crops {SIZE_PX} x {SIZE_PX}\n\n"
            f"backbone         length  GFLOP  images/s alone  {CROPS[device]:3} together  of the product"
            "  in bf16, cosine distance" + "  of the cpu's" * (device == "cuda"),
            flush=True,
        )
        for backbone in sys.argv[1:] or BACKBONES:
            measure(backbone, peak, device)


def measure(backbone: str, peak: float, device: str) -> None:
    count = CROPS[device]
    crops = np.random.default_rng(0).random((count, SIZE_PX, SIZE_PX), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(backbone, Path(folder) / "weights.safetensors")
        network = load_network(backbone, weights).to(memory_format=torch.channels_last)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(as_input(crops[:1]))
        flop = counter.get_total_flops()
        exact = write_program(backbone, weights, Path(folder) / "float32")
        programs, batches = [exact, exact], [crops[:1], crops]
        with suppress(ConfigurationError):
            programs.append(write_program(backbone, weights, Path(folder) / "bfloat16", precision="bfloat16"))
            batches.append(crops)
        alone, together, *halved = interleaved(
            *(functools.partial(embed, *given, device=device) for given in zip(batches, programs, strict=True)),
            clock=CLOCKS[device],
        )
        found = embed(crops, exact, device=device)
        in_bf16 = "refused"
        if halved:
            distance = cosine_distance(found, embed(crops, programs[-1], device=device))
            in_bf16 = f"{count / halved[0]:.1f} {distance:.0e}"
        of_the_cpus = cosine_distance(found[:16], embed(crops[:16], exact, device="cpu")) if device != "cpu" else None
    rate = count / together
    print(
        f"{backbone:16} {BACKBONES[backbone]:6} {flop / 1e9:6.1f} {1 / alone:15.1f} {rate:13.1f}"
        f" {rate * flop / peak:15.0%} {in_bf16:>25}" + ("" if of_the_cpus is None else f" {of_the_cpus:13.0e}"),
        flush=True,
    )


def matrix_product(device: str) -> float:
    """FLOP a second."""
    side = SIDE[device]
    left, right = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    [seconds] = interleaved(lambda: float((left @ right)[0, 0]), clock=CLOCKS[device])
    return 2 * side**3 / seconds


CLOCKS = {"cpu": time.process_time, "cuda": time.perf_counter}
"""Processor seconds where the processor works, seconds where it waits for a device."""


def interleaved(*calls, clock) -> list[float]:
    """Median seconds of each, turn by turn."""
    spent = [[] for _ in calls]
    for number in range(ROUNDS + 1):
        for seconds, call in zip(spent, calls, strict=True):
            began = clock()
            call()
            if number:
                seconds.append(clock() - began)
    return [float(np.median(seconds)) for seconds in spent]


def cosine_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest of all rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((1 - (one * other).sum(axis=1) / lengths).max())


if __name__ == "__main__":
    main()
