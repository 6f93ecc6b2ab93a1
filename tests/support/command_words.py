"""Command lines put together from parts."""


def last_wins(words):
    """The words as texts, an option that is given again in the place of the one before: hftool refuses it twice."""
    kept, positions = [], {}
    words = [str(word) for word in words]
    while words:
        word = words.pop(0)
        has_value = word.startswith("--") and word != "--set" and words and not words[0].startswith("--")
        part = [word, words.pop(0)] if has_value else [word]
        if has_value and word in positions:
            kept[positions[word]] = part
        else:
            positions[word] = len(kept)
            kept.append(part)
    return [word for part in kept for word in part]
