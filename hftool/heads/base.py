"""What implementations of `heads.protocol.Head` share: their fields, and decoding generated texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hftool.heads.protocol import Answer, Feature, GeneratedText
from hftool.models import HeadConfig
from hftool.sampling import SamplingParams


@dataclass(frozen=True)
class BaseHead:
    """The fields of every head, and the defaults of one that gives each row one feature.

    Attributes:
        config: The transformers config of the model, if known.
    """

    tokenizer: Any
    head_config: HeadConfig
    config: Any = None

    numbers: ClassVar[bool] = False
    knobs: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    batch_tokens: ClassVar[int] = 4096

    def join(self, parts: Sequence[Any]) -> Answer:
        """The only part of the row."""
        answer: Answer = parts[0]
        return answer


@dataclass(frozen=True)
class GeneratingHead(BaseHead):
    """A head that generates texts.

    Attributes:
        settings: The sampling parameters; by default greedy decoding of at most the model's max_new_tokens.
        ends: Whether an answer has the reason why each text ended.
    """

    settings: SamplingParams | None = None
    ends: bool = False

    @property
    def sampling(self) -> SamplingParams:
        """The sampling parameters."""
        return self.settings or SamplingParams(max_new_tokens=self.head_config.max_new_tokens or self._usual_length())

    def _usual_length(self) -> int:
        """The maximum number of generated tokens of a model that was trained without one."""
        raise NotImplementedError

    def decode(self, outputs: Sequence[Sequence[GeneratedText]], features: Sequence[Feature]) -> list[Answer]:
        """The texts generated for each input -> `text`, `finish`, and `samples` where there are several."""
        stop_strings = self.sampling.stop
        return [self._answer(texts, stop_strings) for texts in outputs]

    def _answer(self, generated: Sequence[GeneratedText], stop_strings: Sequence[str]) -> Answer:
        """Decode the texts of an input, best first.

        Returns:
            The first as `text`, why it ended as `finish`, and all as `samples` where there are several; with `ends` why each
            ended, and its number of tokens.
        """
        texts = []
        for one in generated:
            text = self.tokenizer.decode(list(one.ids), skip_special_tokens=True, clean_up_tokenization_spaces=False) + one.rest
            stops = [text.find(stop) for stop in stop_strings if stop in text]  # not found before: it held special tokens
            texts.append(text[: min(stops)] if stops else text)
        answer: Answer = {"text": texts[0], "finish": generated[0].finish}
        if self.ends:
            answer["ends"] = [(one.finish, len(one.ids)) for one in generated]
        return {**answer, "samples": texts} if len(texts) > 1 else answer

    def decision(self, answer: Answer) -> tuple[str, Any]:
        """The text."""
        return "text", answer["text"]
