"""The exports of annotation tools: one module for each, with its reader and the writer of suggestions."""
