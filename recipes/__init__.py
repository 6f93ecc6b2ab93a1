"""One recipe a family, each short enough to read: `from recipes import bert`, or `hftool copy bert` to make it yours."""
