"""Tests that the table of docs/attacks.md on which attack applies to which purifier is that of the purifiers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from purebench.core.registry import installed

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool, whose groups are computed once."""
    spec = importlib.util.spec_from_file_location("applicability", TOOLS / "applicability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["applicability"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    found = module.groups()
    module.groups = lambda: found  # type: ignore[attr-defined]
    return module


def test_the_table_is_that_of_the_registered_purifiers(tool: ModuleType) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.written(page) == page
    assert max(map(len, tool.MARK.search(page).group().splitlines())) <= 100


def test_every_registered_defense_is_in_the_table_or_left_out_for_a_reason(tool: ModuleType) -> None:
    rows = sys.modules["applicability_rows"]
    assert rows.registered() | set(rows.LEFT_OUT) == set(installed("defenses"))
    assert not rows.registered() & set(rows.LEFT_OUT)


@pytest.mark.parametrize(
    ("name", "applies"),
    [
        ("resized(purifier=diffpure)", {"surrogate", "noised", "intermediate", "deviated"}),
        ("before(purifier=diffpure)", {"surrogate", "noised", "intermediate", "deviated"}),
        ("freqpure/cifar10", {"surrogate", "noised", "intermediate", "deviated"}),
        ("likelihood-maximisation/iclr", {"surrogate", "intermediate"}),
        ("vote(defense=diffpure)", {"surrogate", "noised"}),
        ("smoothing(denoiser=ddpm)", {"noised"}),
        ("mlvgm-hvae", {"latent", "latent-skl"}),
        ("vae", {"latent-skl"}),
        ("defense-gan", {"reparametrised"}),
    ],
)
def test_what_purifiers_of_each_kind_offer(tool: ModuleType, name: str, applies: set[str]) -> None:
    (group,) = (one for one in tool.groups() if name in one.names)
    asked = {"surrogate", "noised", "intermediate", "deviated", "latent", "latent-skl", "reparametrised"}
    assert {one for one in asked if group.reasons[one] is None} == applies


def test_a_changed_cell_and_a_missing_mark_are_found(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    changed = tmp_path / "attacks.md"
    changed.write_text(page.replace("| `deviated` | –", "| `deviated` | ✓", 1), encoding="utf-8")
    monkeypatch.setattr(tool, "PAGE", changed)
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    assert changed.read_text(encoding="utf-8") == page
    with pytest.raises(ValueError, match="expected <!-- applicability -->"):
        tool.written(page.replace("<!-- applicability -->", ""))
