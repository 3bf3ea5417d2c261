"""Tests that hashes in other forms than those of published files are refused."""

import pytest

from purebench.core.errors import PurebenchError
from purebench.core.files.digests import Digest


@pytest.mark.parametrize("text", ["sha1 abcdef0123", "sha256", "sha256 xyz", "sha256 abc", "md5:0123456789"])
def test_a_hash_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(PurebenchError, match=r"digest: expected 'sha256 HEX'"):
        Digest.parse(text)
