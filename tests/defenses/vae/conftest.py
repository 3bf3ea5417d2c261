"""Lets tests of this folder import its slow second implementations."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
