"""A backbone with its weights as one file of data: which of torch's operators follow each other, and on which tensors.

MONAI builds it and torch.export reads it off, once. Importing either takes longer than extracting a hundred ROIs, and
would be done wherever a worker starts; workers need torch's operators alone, and the file holds no code.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnm.errors import ConfigurationError
from clnm.features.crops import SIZE_PX
from clnm.features.networks import as_input, load_network

if TYPE_CHECKING:
    import torch

BATCH = 8
"""A program takes as many crops, no more and no fewer: for another number torch may take another algorithm, which
rounds otherwise, and a crop's embedding would depend on its neighbours."""
PRECISIONS = ("float32", "bfloat16")
_MAX_COSINE_DISTANCE = 1e-3
"""Between an embedding in bfloat16 and the same in float32."""
_STEPS, _TENSORS = "steps.json", "tensors.safetensors"


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of torch.

    Its arguments are plain values, lists of arguments, or a dict of one entry: `step` (what an earlier step gave, by
    its place; -1 is the crops), `tensor` (by its name) or `dtype`.
    """

    operator: str
    """As torch names it: aten.conv2d.default."""
    arguments: list[Any]
    named: dict[str, Any]


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
    path = directory / f"{backbone}-{precision}-{digest[:16]}.program"
    if not _is_whole(path):
        directory.mkdir(parents=True, exist_ok=True)
        _write(*_export(load_network(backbone, weights), precision), path)
        for other in set(directory.iterdir()) - {path}:
            other.unlink()
    return path


@functools.lru_cache(maxsize=2)
def load_program(path: Path, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A callable from (8, 3, S, S) to (8, D), both float32 on `device`."""
    import torch

    torch.set_num_threads(1)  # one worker, one core; with more, additions come in another order
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # three digits are not enough
    torch.backends.cudnn.deterministic = True
    steps, tensors = _read(path)
    return functools.partial(_run, steps, {name: _placed(tensor, device) for name, tensor in tensors.items()})


def _run(steps: list[Step], tensors: Mapping[str, torch.Tensor], crops: torch.Tensor) -> torch.Tensor:
    import torch

    last_use = {used: place for place, step in enumerate(steps) for used in _used((step.arguments, step.named))}
    results = {-1: crops}

    for place, step in enumerate(steps):
        namespace, name, overload = step.operator.split(".")
        operator = getattr(getattr(getattr(torch.ops, namespace), name), overload)
        arguments = _value(step.arguments, results, tensors)
        named = {key: _value(argument, results, tensors) for key, argument in step.named.items()}
        results[place] = operator(*arguments, **named)
        for used in [used for used in results if last_use.get(used) == place]:
            del results[used]
    return results[len(steps) - 1]


def _value(argument: Any, results: Mapping[int, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> Any:
    """What a written argument stands for."""
    import torch

    match argument:
        case {"step": place}:
            return results[place]
        case {"tensor": name}:
            return tensors[name]
        case {"dtype": name}:
            return getattr(torch, name)
        case list():
            return [_value(element, results, tensors) for element in argument]
    return argument


def _used(arguments: Any) -> Iterator[int]:
    """The places of the steps whose results these arguments name."""
    match arguments:
        case {"step": place}:
            yield place
        case dict():
            yield from _used(list(arguments.values()))
        case list() | tuple():
            for argument in arguments:
                yield from _used(argument)


def _placed(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A copy that owns its memory, aligned, as convolutions want it."""
    import torch

    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.to(device).clone(memory_format=layout)


def _export(network: Any, precision: str) -> tuple[list[Step], dict[str, torch.Tensor]]:
    """What the network does, and the tensors it does it with."""
    import torch

    grains = torch.rand(BATCH, 1, SIZE_PX // 8, SIZE_PX // 8, generator=torch.Generator().manual_seed(0))
    crops = as_input(torch.nn.functional.interpolate(grains, size=SIZE_PX, mode="bilinear")[:, 0].numpy())
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
        module = torch.export.export(network, (crops,)).module()
    return _steps(module.graph), {name: tensor.detach() for name, tensor in module.state_dict().items()}


def _steps(graph: Any) -> list[Step]:
    """The graph's calls of operators in their order; what only checks its input is left out."""
    import torch

    known: dict[Any, dict[str, Any]] = {}
    steps: list[Step] = []

    def plain(argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            return known[argument]
        if isinstance(argument, torch.dtype):
            return {"dtype": str(argument).removeprefix("torch.")}
        if isinstance(argument, list | tuple):
            return [plain(element) for element in argument]
        if argument is None or isinstance(argument, bool | int | float | str):
            return argument
        raise TypeError(f"an argument of type {type(argument).__name__} cannot be written down")

    for node in graph.nodes:
        if node.op == "placeholder":
            known[node] = {"step": -1}
        elif node.op == "get_attr":
            known[node] = {"tensor": node.target}
        elif node.op == "call_function" and "assert" not in str(node.target):
            named = {key: plain(argument) for key, argument in node.kwargs.items()}
            steps.append(Step(str(node.target), plain(node.args), named))
            known[node] = {"step": len(steps) - 1}
    return steps


def _write(steps: list[Step], tensors: dict[str, torch.Tensor], path: Path) -> None:
    """By scratch, sync, rename; a zip, because that knows whether it is whole."""
    from safetensors.torch import save

    scratch = path.with_name(path.name + ".scratch")
    with scratch.open("wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_STEPS, json.dumps([asdict(step) for step in steps]))
            archive.writestr(_TENSORS, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)


def _read(path: Path) -> tuple[list[Step], dict[str, torch.Tensor]]:
    from safetensors.torch import load

    with zipfile.ZipFile(path) as archive:
        steps = [Step(**step) for step in json.loads(archive.read(_STEPS))]
        return steps, load(archive.read(_TENSORS))


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _in_bfloat16(network: Any) -> Any:
    import torch

    class InBfloat16(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network.to(torch.bfloat16)

        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            return self.network(crops.to(torch.bfloat16)).float()

    return InBfloat16()
