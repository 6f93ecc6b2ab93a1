"""One package for each kind of answer. `protocol.Head` is what a head must do; its row is in `hftool.registry.heads`."""

from typing import TYPE_CHECKING, Any

from hftool.registry.heads import head_spec

if TYPE_CHECKING:
    from hftool.heads.protocol import Head
    from hftool.models import HeadConfig


def head_class(name: str) -> Any:
    """The class of the head called `name`. Raises UsageError with the nearest name."""
    return head_spec(name).load()


def get_head(tokenizer: Any, head_config: "HeadConfig", config: Any = None) -> "Head":
    """The head that `head_config` names."""
    head: Head = head_class(head_config.head)(tokenizer=tokenizer, head_config=head_config, config=config)
    return head
