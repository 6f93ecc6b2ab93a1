"""Measures memory of processes that tests start."""

# getrusage's ru_maxrss is handed on to a process by the one that started it: a large pytest would hide what a small program takes
PEAK = '''
def peak():
    """KiB."""
    with open("/proc/self/status", encoding="ascii") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith("VmHWM:"))
'''


def growth_by_shapes(sender):
    """Send the MB that a process grows by when products of many sizes are computed in it, kernel caches limited."""
    import os

    import torch

    from hftool.machine import limit_kernel_caches

    for name in [name for name in os.environ if name.endswith("CACHE_CAPACITY")]:
        del os.environ[name]
    limit_kernel_caches()
    torch.manual_seed(0)
    layers = [torch.nn.Linear(192, 192), torch.nn.Linear(192, 768), torch.nn.Linear(768, 192)]

    def work(tokens):
        for layer in layers:
            layer(torch.ones(tokens, layer.in_features, dtype=torch.bfloat16))

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        work(900)
        before = _anonymous()
        for tokens in range(100, 900, 5):
            work(tokens)
    sender.send(_anonymous() - before)


def _anonymous():
    with open("/proc/self/status", encoding="ascii") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith("RssAnon:")) / 1000
