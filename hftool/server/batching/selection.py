"""Which of the rows that wait are computed together."""

from collections.abc import Callable, Sequence

START = 64  # tokens that are computed in the time that the start of a batch takes, where nobody measured it


def select_batch(
    lengths: Sequence[int], counts: Sequence[int], *, oldest: int, fits: Callable[[int, int], bool], start: int = START
) -> list[int]:
    """The places of the rows of the next batch: the oldest, and of the others those with which least time is lost.

    lengths: tokens of the longest feature of each row. counts: features of each row. oldest: its place. fits: whether
    (longest, features) is no more than a batch may hold; the oldest row alone always is. start: what a batch costs beside its
    tokens, in tokens. Rows that stand together when sorted by length are taken: of those that hold the oldest and fit, the
    ones whose tokens are the largest share of what is paid for, which is start, tokens and padding.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    sizes = [lengths[i] for i in order]
    features, tokens = [0], [0]  # of all rows before each place
    for i in order:
        features.append(features[-1] + counts[i])
        tokens.append(tokens[-1] + counts[i] * lengths[i])

    def share(begin: int, end: int) -> float:
        return (tokens[end] - tokens[begin]) / (start + sizes[end - 1] * (features[end] - features[begin]))

    at = order.index(oldest)
    best, chosen, first = -1.0, (at, at + 1), 0
    for end in range(at + 1, len(order) + 1):
        longest = sizes[end - 1]
        while first < at and not fits(longest, features[end] - features[first]):
            first += 1
        if not fits(longest, features[end] - features[first]):
            break  # with the oldest it is too much, and what follows is longer still
        low, high = first, at
        while low < high:  # a shorter row is worth it until one is not, and then none is
            middle = (low + high) // 2
            if sizes[middle] >= longest * share(middle + 1, end):
                high = middle
            else:
                low = middle + 1
        gain = share(low, end)
        if gain >= best:
            best, chosen = gain, (low, end)
    return [order[i] for i in range(*chosen)]
