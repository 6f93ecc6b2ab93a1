"""Batch selection: which of the queued rows are computed together."""

from collections.abc import Callable, Sequence

START_COST = 64  # tokens that could be computed in the time that starting a batch takes, until it is measured
Fits = Callable[[int, int], bool]  # (tokens of the longest feature, number of features) -> whether a batch may have them


def select_batch(
    lengths: Sequence[int], counts: Sequence[int], *, oldest: int, fits: Fits, start_cost: int = START_COST
) -> list[int]:
    """Select the next batch: the oldest row, and the others that waste the least time.

    Of the runs of rows adjacent by length that contain the oldest and fit, this is the one with the largest share of
    real tokens in its cost, which is start, tokens and padding.

    Args:
        lengths: Tokens of the longest feature of each row.
        counts: Number of features of each row.
        oldest: Index of the oldest row; it is always in the batch, even if it does not fit.
        fits: The limits of a batch.
        start_cost: Fixed cost of a batch, in tokens.

    Returns:
        Indices of the selected rows, the shortest first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    sizes = [lengths[i] for i in order]
    features, tokens = [0], [0]  # of all rows before each index
    for i in order:
        features.append(features[-1] + counts[i])
        tokens.append(tokens[-1] + counts[i] * lengths[i])

    def _share(begin: int, end: int) -> float:
        return (tokens[end] - tokens[begin]) / (start_cost + sizes[end - 1] * (features[end] - features[begin]))

    at = order.index(oldest)
    best, chosen, first = -1.0, (at, at + 1), 0
    for end in range(at + 1, len(order) + 1):
        longest = sizes[end - 1]
        while first < at and not fits(longest, features[end] - features[first]):
            first += 1
        if not fits(longest, features[end] - features[first]):
            break  # too much together with the oldest, and later rows are longer still
        low, high = first, at
        while low < high:  # shorter rows pay up to one row, and none before it does
            middle = (low + high) // 2
            if sizes[middle] >= longest * _share(middle + 1, end):
                high = middle
            else:
                low = middle + 1
        gain = _share(low, end)
        if gain >= best:
            best, chosen = gain, (low, end)
    return [order[i] for i in range(*chosen)]
