"""Puts this folder on the path, so that its tests can import blocks.py and shell.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
