"""Generated texts as lines."""

from hftool.heads.text2text.render import line

__all__ = ["line"]
