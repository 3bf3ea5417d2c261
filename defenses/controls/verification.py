"""Complete verification of a small ReLU network in linf by mixed-integer programming.

The formulation is that of Tjeng et al. 2019 (arXiv:1711.07356). A unit whose sign the perturbation cannot change is
linear. Each other unit has a binary variable d with bounds l < 0 < u of its input z: its output a satisfies a ≥ 0,
a ≥ z, a ≤ u·d and a ≤ z − l·(1 − d), which is exact (equation 4). The image is robust if for no other class t there is
a point with logit_t ≥ logit_y. A point that the solver finds is turned into an image and passed through the network, so
that an answer "broken" never depends on the solver's rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix
from torch import Tensor

from purebench.core.defense.known_truth import Truth
from purebench.core.threat import ThreatModel

if TYPE_CHECKING:
    from purebench.defenses.controls.relu_network import ReLUNetwork

Floats = npt.NDArray[np.float64]

MOST_NODES = 2_000
"""Largest number of nodes of one program's search tree; an image that exceeds it has the bounds 0 and 1. A limit of
time would let the truth depend on the speed of the machine. The bundled network needs at most 5 nodes at 16/255, and 94
at 32/255, on the first 1,000 images of Fashion-MNIST."""
INFEASIBLE, SOLVED = 2, 0
"""Codes of `scipy.optimize.milp`."""


class Program:
    """The network's inputs, units and logits around one image, as a mixed-integer program.

    Args:
        weights: matrices [out,in] and biases [out] of the layers, first to last.
        low: lower bounds of the network's inputs [n].
        high: upper bounds of them [n].
    """

    def __init__(self, weights: list[tuple[Floats, Floats]], low: Floats, high: Floats):
        self.lower, self.upper = list(low), list(high)
        self.integer = [0] * len(low)
        self.rows: list[tuple[dict[int, float], float]] = []
        terms = [({unit: 1.0}, 0.0) for unit in range(len(low))]  # each layer's inputs: linear in variables, + constant
        for matrix, bias in weights[:-1]:
            terms, low, high = self._hidden(matrix, bias, terms, low, high)
        self.logits = [_combined(row, offset, terms) for row, offset in zip(*weights[-1], strict=True)]
        self.last, self.low, self.high = weights[-1], low, high

    def _hidden(
        self, matrix: Floats, bias: Floats, terms: list[tuple[dict[int, float], float]], low: Floats, high: Floats
    ) -> tuple[list[tuple[dict[int, float], float]], Floats, Floats]:
        centre, spread = matrix @ (low + high) / 2 + bias, np.abs(matrix) @ (high - low) / 2
        below, above = centre - spread, centre + spread
        found: list[tuple[dict[int, float], float]] = []
        for row, offset, least, most in zip(matrix, bias, below, above, strict=True):
            if most <= 0:
                found.append(({}, 0.0))
            elif least >= 0:
                found.append(_combined(row, offset, terms))
            else:
                found.append(({self._unit(_combined(row, offset, terms), least, most): 1.0}, 0.0))
        return found, np.maximum(below, 0), np.maximum(above, 0)

    def _unit(self, z: tuple[dict[int, float], float], least: float, most: float) -> int:
        """Add a unit whose input z may have either sign, and return the variable of its output."""
        output, active = self._variable(0, most, 0), self._variable(0, 1, 1)
        self._at_most({**_scaled(z[0], 1.0), output: -1.0}, -z[1])  # z − a ≤ 0
        self._at_most({output: 1.0, active: -most}, 0.0)  # a ≤ u·d
        self._at_most({**_scaled(z[0], -1.0), output: 1.0, active: -least}, z[1] - least)  # a ≤ z − l·(1 − d)
        return output

    def _variable(self, low: float, high: float, integer: int) -> int:
        self.lower.append(low)
        self.upper.append(high)
        self.integer.append(integer)
        return len(self.lower) - 1

    def _at_most(self, coefficients: dict[int, float], bound: float) -> None:
        self.rows.append((coefficients, bound))

    def cannot_win(self, target: int, label: int) -> bool:
        """Return whether interval arithmetic proves that logit_target stays below logit_label."""
        row, offset = (part[target] - part[label] for part in self.last)
        centre, spread = row @ (self.low + self.high) / 2 + offset, np.abs(row) @ (self.high - self.low) / 2
        return bool(centre + spread < 0)

    def solve(self, target: int, label: int) -> tuple[bool | None, Floats | None]:
        """Maximise logit_target − logit_label over the inputs at which it is at least 0.

        Returns:
            False if there are none, True if there are some, None at the limit of nodes; and the inputs [n] if found.
        """
        (ahead, plus), (behind, minus) = self.logits[target], self.logits[label]
        difference = dict(behind)  # logit_label − logit_target ≤ 0
        for variable, factor in ahead.items():
            difference[variable] = difference.get(variable, 0.0) - factor
        rows = [*self.rows, (difference, plus - minus)]
        matrix = lil_matrix((len(rows), len(self.lower)))
        for number, (coefficients, _) in enumerate(rows):
            for variable, factor in coefficients.items():
                matrix[number, variable] = factor
        objective = np.zeros(len(self.lower))
        objective[list(difference)] = list(difference.values())
        found = milp(
            objective,
            integrality=np.array(self.integer),
            bounds=Bounds(np.array(self.lower), np.array(self.upper)),
            constraints=LinearConstraint(matrix.tocsr(), -np.inf, np.array([bound for _, bound in rows])),
            options={"node_limit": MOST_NODES},
        )
        if found.status == INFEASIBLE:
            return False, None
        return (True, found.x) if found.status == SOLVED else (None, None)


def robust_images(network: ReLUNetwork, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
    """Decide for each image whether the network answers rightly everywhere within the linf radius.

    Args:
        network: the network.
        x: images [N,1,H,W] in [0,1].
        y: labels [N].
        threat: an linf threat model.

    Returns:
        1 or 0 for each image; the bounds 0 and 1 where the program exceeds `MOST_NODES`, or where the solver's point is
        misclassified only up to its rounding.
    """
    bounds = [_image(network, image, int(label), threat) for image, label in zip(x, y, strict=True)]
    low, high = (torch.tensor(values, dtype=torch.float64) for values in zip(*bounds, strict=True))
    return Truth(low, high)


def _image(network: ReLUNetwork, image: Tensor, label: int, threat: ThreatModel) -> tuple[float, float]:
    if not _right(network, image, label):
        return 0.0, 0.0
    least, most = (image - threat.radius).clamp(0, 1), (image + threat.radius).clamp(0, 1)
    low, high = (_pooled(network, part) for part in (least, most))
    weights = [(_float64(layer.weight), _float64(layer.bias)) for layer in network.linear]
    program, surely = Program(weights, low, high), True
    classes = len(program.logits)
    for target in (one for one in range(classes) if one != label):
        if program.cannot_win(target, label):
            continue
        found, inputs = program.solve(target, label)
        if inputs is not None and not _right(network, _as_image(network, inputs, least, most), label):
            return 0.0, 0.0
        surely &= found is False
    return (1.0, 1.0) if surely else (0.0, 1.0)


def _as_image(network: ReLUNetwork, inputs: Floats, least: Tensor, most: Tensor) -> Tensor:
    """Return an image within the bounds whose pooled pixels are the solver's inputs; a square moves by one share."""
    low, high = _pooled(network, least), _pooled(network, most)
    share = np.clip((inputs[: len(low)] - low) / np.maximum(high - low, 1e-12), 0, 1)
    side = int(len(low) ** 0.5)
    squares = torch.as_tensor(share, dtype=torch.float32).view(1, side, side)
    scale = least.shape[-1] // side
    wide = squares.repeat_interleave(scale, 1).repeat_interleave(scale, 2).to(least)
    return least + wide * (most - least)


@torch.no_grad()
def _right(network: ReLUNetwork, image: Tensor, label: int) -> bool:
    return int(network(image[None]).argmax(1)) == label


def _pooled(network: ReLUNetwork, image: Tensor) -> Floats:
    return _float64(network.pool(image[None].double()).flatten())


def _float64(values: Tensor) -> Floats:
    found: Floats = values.detach().double().cpu().numpy()
    return found


def _combined(
    row: Floats, offset: float, terms: list[tuple[dict[int, float], float]]
) -> tuple[dict[int, float], float]:
    """Return row · terms + offset as one linear term."""
    total, constant = dict[int, float](), float(offset)
    for weight, (coefficients, plus) in zip(row, terms, strict=True):
        constant += float(weight) * plus
        for variable, factor in coefficients.items():
            total[variable] = total.get(variable, 0.0) + float(weight) * factor
    return total, constant


def _scaled(coefficients: dict[int, float], factor: float) -> dict[int, float]:
    return {variable: factor * value for variable, value in coefficients.items()}
