"""How much memory a process has held at most, for programs that tests start."""

# getrusage's ru_maxrss is handed on to a process by the one that started it: a large pytest would hide what a small program takes
PEAK = '''
def peak():
    """KiB."""
    with open("/proc/self/status", encoding="ascii") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith("VmHWM:"))
'''
