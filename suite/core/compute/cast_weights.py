"""Casts the frozen weights of a defense to bf16 once, in the channels-last layout, instead of at every pass.

`torch.autocast` keeps the cast of a weight within a context only if the weight requires a gradient; those of a defense
under attack do not. The values are those that autocast computes. Convolutions in bf16 are faster in the channels-last
layout, and elementwise operations are slow on tensors of different layouts, so each convolution also returns its output
in this layout. Networks with group norms, which are several times slower in it on a CPU, keep the usual layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from purebench.core.compute.entered import PassContext

LAYERS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""Layers whose weights autocast casts. Classes derived from them may use their weights in other ways, and norms are
computed in float32; both keep their weights."""
OF_IMAGES = (nn.Conv2d, nn.ConvTranspose2d)
"""Layers whose weights and outputs have the channels-last layout."""
SLOW = (nn.GroupNorm,)
"""Layers that are slow in this layout: a child of the module that has one keeps the usual layout."""


class CastWeights(PassContext):
    """A context in which the layers of a module have weights in bf16; it may be entered again within itself.

    Only frozen float32 parameters are replaced, and a parameter that several layers share is cast once. The parameters
    themselves are not changed, and are back in their places after the context.

    Args:
        module: The module; parameters that are replaced later are noticed.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self.casts: dict[int, tuple[Tensor, int, nn.Parameter]] = {}
        self.replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
        self.hooks: list[RemovableHandle] = []

    def begin(self) -> None:
        """Replace the parameters by their casts."""
        usual = {layer for part in self._parts() if _has(part, SLOW) for layer in part.modules()}
        for layer in self.module.modules():
            if type(layer) in LAYERS:
                self._replace(layer, type(layer) in OF_IMAGES and layer not in usual)

    def end(self) -> None:
        """Put the parameters back."""
        for layer, name, own in reversed(self.replaced):
            layer._parameters[name] = own
        for hook in self.hooks:
            hook.remove()
        self.replaced.clear()
        self.hooks.clear()

    def _parts(self) -> list[nn.Module]:
        """Return the children of the module, such as purifier and classifier; the module itself if it has none."""
        return list(self.module.children()) or [self.module]

    def _replace(self, layer: nn.Module, channels_last: bool) -> None:
        for name in ("weight", "bias"):
            own = layer._parameters.get(name)
            if own is not None and own.dtype == torch.float32 and not (own.requires_grad or own.is_inference()):
                self.replaced.append((layer, name, own))
                layer._parameters[name] = self._cast(own, channels_last and name == "weight")
                if channels_last and name == "weight":
                    self.hooks.append(layer.register_forward_hook(_channels_last))

    def _cast(self, own: nn.Parameter, channels_last: bool) -> nn.Parameter:
        """Return the cast of a parameter, which is computed again if the parameter has changed."""
        known = self.casts.get(id(own))
        if known is None or known[0] is not own or known[1] != own._version:
            layout = torch.channels_last if channels_last else torch.preserve_format
            with torch.inference_mode(False):
                cast = nn.Parameter(own.detach().to(torch.bfloat16, memory_format=layout), requires_grad=False)
            known = self.casts[id(own)] = own, own._version, cast
        return known[2]


@contextmanager
def in_bf16(device: torch.device, weights: CastWeights) -> Iterator[None]:
    """Compute forward passes in bf16 inside a `with` block.

    Args:
        device: The device of the images.
        weights: The weights of the modules that are called.
    """
    with torch.autocast(device.type, torch.bfloat16), weights:
        yield


def _has(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    return any(isinstance(layer, kinds) for layer in module.modules())


def _channels_last(layer: nn.Module, given: Any, output: Tensor) -> Tensor:
    return output.contiguous(memory_format=torch.channels_last) if output.ndim == 4 else output
