from pathlib import Path

import pytest

from exporter.accounts.api_keys import KeyOfFile
from exporter.config.keys.key_files import AccountKey
from exporter.telnyx.errors import KeyUnusable

FILE = Path("/keys/a")


def test_the_key_of_a_file():
    """The key is the one that the file had. Two keys are equal if files and keys are. The key is in no text."""
    key = KeyOfFile(AccountKey(FILE, "KEY-canary"))
    assert key() == "KEY-canary"
    assert key == KeyOfFile(AccountKey(FILE, "KEY-canary"))
    assert key != KeyOfFile(AccountKey(FILE, "KEY-other"))
    assert "canary" not in repr(key)


def test_an_unusable_file():
    """The error of an unusable file says why it is unusable."""
    with pytest.raises(KeyUnusable, match="is empty") as caught:
        KeyOfFile(AccountKey(FILE, None, "is empty"))()
    assert caught.value.reason == "unauthorized"
