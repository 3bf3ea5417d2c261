"""Settings of the linear world; puts this folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from purebench.boards.board import AttackChoice
from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.latents.tuning.setting import Setting

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def world() -> str:
    """The path of linear_world.py, which has the factories of purifier, classifier and images."""
    return str(HERE / "linear_world.py")


@pytest.fixture
def setting_of(world: str):
    """setting_of(**fields): a setting of the linear world with one FGSM step as the attack."""

    def make(**fields: object) -> Setting:
        usual = {
            "defense": Spec(f"{world}:pixels"),
            "board": load_board(find_board("fashion-quick")),
            "classifier": Spec(f"{world}:sign"),
            "dataset": Spec(f"{world}:images", {"count": 600}),
            "skip": 0,
            "images": 100,
            "fresh": 60,
            "threat": ThreatModel("linf", 0.05),
            "attack": AttackChoice("attack", Spec("fgsm"), "exact"),
            "draws": 2,
            "attenuation": 1.0,
        }
        return Setting(**usual | fields)  # type: ignore[arg-type]

    return make
