import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftool.machine import HUGE_PAGES, use_huge_pages

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MODEL = Path(__file__).parents[2] / "hftool" / "assets" / "models" / "gpt2-mini"
CODE = """
import hftool, torch
hftool.load({model!r})
large = torch.ones(8 << 20)
regions = open("/proc/self/smaps").read().splitlines()
print(any(line.startswith("VmFlags:") and "hg" in line.split() for line in regions))
"""


@pytest.mark.skipif(not SETTING.exists(), reason="a kernel without transparent huge pages")
def test_large_tensors_are_in_huge_pages_once_a_model_is_loaded():
    """Nothing allocates a tensor before: torch reads the variable once."""
    code = CODE.format(model=str(MODEL))
    env = {name: value for name, value in os.environ.items() if name != HUGE_PAGES}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env=env)
    assert result.stdout.split() == ["True"]


def test_a_variable_that_is_set_is_kept(monkeypatch):
    monkeypatch.setenv(HUGE_PAGES, "0")
    use_huge_pages()
    assert os.environ[HUGE_PAGES] == "0"
