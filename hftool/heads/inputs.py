"""The inputs of a head: the names of their texts, and what a text must be. Derived from the row of the head and its model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hftool.heads.protocol import Head
from hftool.registry.heads import head_spec

MASKS = ("[MASK]", "<mask>")  # of BERT and RoBERTa; every model takes both


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The texts of an input."""

    fields: Mapping[str, str] = field(hash=False)  # the names of the texts, and their roles in a row
    optional: Mapping[str, str] = field(default_factory=dict, hash=False)  # the same of a text that may be left out
    allow_empty: bool = False  # whether a text may be empty
    must_contain: tuple[str, ...] = ()  # strings of which a text must have one
    token_ids: bool = False  # whether a text may be given as token ids, where the protocol allows it


def input_spec(head: Head) -> InputSpec:
    """The inputs of a head. A classifier takes texts or pairs as in training, and either one where its columns are unknown."""
    spec, columns = head_spec(head.head_config.head), head.head_config.columns
    first, *others = zip(spec.inputs, spec.inputs, strict=True) if len(spec.inputs) > 1 else [("text", spec.inputs[0])]
    both = spec.second_input == "always" or spec.takes_pairs(columns)
    either = spec.second_input == "optional" or (spec.second_input == "as trained" and not columns)
    masks = (str(head.tokenizer.mask_token), *MASKS) if spec.fills else ()
    return InputSpec(
        fields=dict([first, *(others if both else [])]),
        optional=dict(others if either else []),
        allow_empty=spec.continues,
        must_contain=tuple(dict.fromkeys(masks)),
        token_ids=spec.continues,
    )
