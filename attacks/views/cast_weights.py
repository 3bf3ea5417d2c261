"""Casts the frozen weights of a defense to bf16 once, instead of at every pass.

`torch.autocast` keeps the cast of a weight within a context only if the weight requires a gradient; those of a defense
under attack do not. The values are those that autocast computes, so that passes give the same numbers.
"""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor, nn

LAYERS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""Layers whose weights autocast casts. Classes derived from them may use their weights in other ways, and norms are
computed in float32; both keep their weights."""


class CastWeights:
    """A context in which the layers of a module have weights in bf16; it may be entered again within itself.

    Only frozen float32 parameters are replaced, and a parameter that several layers share is cast once. The parameters
    themselves are not changed, and are back in their places after the context.

    Args:
        module: The module; parameters that are replaced later are noticed.
    """

    def __init__(self, module: nn.Module):
        self.module, self.depth = module, 0
        self.casts: dict[int, tuple[Tensor, int, nn.Parameter]] = {}
        self.replaced: list[tuple[nn.Module, str, nn.Parameter]] = []

    def __enter__(self) -> CastWeights:
        self.depth += 1
        if self.depth == 1:
            for layer in self.module.modules():
                if type(layer) in LAYERS:
                    self._replace(layer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.depth -= 1
        if self.depth == 0:
            for layer, name, own in reversed(self.replaced):
                layer._parameters[name] = own
            self.replaced.clear()

    def _replace(self, layer: nn.Module) -> None:
        for name in ("weight", "bias"):
            own = layer._parameters.get(name)
            if own is not None and own.dtype == torch.float32 and not (own.requires_grad or own.is_inference()):
                self.replaced.append((layer, name, own))
                layer._parameters[name] = self._cast(own)

    def _cast(self, own: nn.Parameter) -> nn.Parameter:
        """Return the cast of a parameter, which is computed again if the parameter has changed."""
        known = self.casts.get(id(own))
        if known is None or known[0] is not own or known[1] != own._version:
            with torch.inference_mode(False):
                cast = nn.Parameter(own.detach().to(torch.bfloat16), requires_grad=False)
            known = self.casts[id(own)] = own, own._version, cast
        return known[2]
