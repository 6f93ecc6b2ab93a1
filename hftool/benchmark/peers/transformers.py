"""transformers' model.generate, with its key-value cache."""

from hftool.benchmark.arm import Arm
from hftool.benchmark.generate import GenerateWork


def generate(work: GenerateWork, variant: str) -> Arm:
    """model.generate, greedily, in fp32."""
    return work.arm(work.plain, variant)
