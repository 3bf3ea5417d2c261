"""Compiles the networks that a defense calls, with `torch.compile`, for batches of two fixed sizes."""

from purebench.core.compute.compiled.networks import Compiled, CompileFailure, Network, Networks
from purebench.core.compute.compiled.probe import Probed, probe

__all__ = ["CompileFailure", "Compiled", "Network", "Networks", "Probed", "probe"]
