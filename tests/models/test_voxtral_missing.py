"""Without mistral-common Voxtral alone is out of reach, and says how to get it."""

from __future__ import annotations

import json
import sys

import pytest

from asr_headroom.errors import MissingDependencyError
from asr_headroom.models.registry import load_model


def test_the_install_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mistral_common", None)
    monkeypatch.delitem(sys.modules, "asr_headroom.models.voxtral", raising=False)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "voxtral"}))
    with pytest.raises(MissingDependencyError, match=r"'mistral_common'; .* pip install 'asr-headroom\[voxtral\]'"):
        load_model(str(tmp_path))
