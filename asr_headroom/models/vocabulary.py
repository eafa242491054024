"""Characters that a fresh CTC head writes, taken from training transcripts, and the file that keeps them.

The transcripts are normalised first, and so is whatever the head is trained on later: the normaliser belongs to the
vocabulary and is stored with it. Torch-free.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asr_headroom.errors import DataError, ModelError
from asr_headroom.text.normalize import get_normalizer, normalizer_for_language
from asr_headroom.text.units import primary_subtag

__all__ = ["BLANK", "SPACE", "UNKNOWN", "Vocabulary", "is_letter", "normalizer_for_targets", "read_vocabulary"]

BLANK, UNKNOWN, SPACE = "<pad>", "<unk>", "|"
"""Tokens beside the characters, as wav2vec 2.0 checkpoints name them; the blank has id 0."""

_FILE = "ctc_vocabulary.json"


@dataclass(frozen=True)
class Vocabulary:
    """What a head can write.

    Attributes:
        characters: sorted; a space among them where words have spaces.
        normalizer: id of what brings a transcript into these characters.
    """

    characters: tuple[str, ...]
    normalizer: str

    @classmethod
    def from_texts(cls, texts: Iterable[str], normalizer: str) -> Vocabulary:
        """All characters that occur in the normalised texts.

        >>> Vocabulary.from_texts(["Da, ja!", "du"], "basic").characters
        (' ', 'a', 'd', 'j', 'u')

        Raises:
            ConfigError: no such normaliser.
            DataError: nothing is left of the texts, or they hold the token for a space.
        """
        normalize = get_normalizer(normalizer)
        characters = sorted(set().union(*(normalize(text) for text in texts)))
        if not set(characters) - {" "}:
            raise DataError(
                f"normalizer '{normalizer}' leaves no character of the training transcripts; name another with "
                "--vocabulary-normalizer"
            )
        if SPACE in characters:
            raise DataError(
                f"the transcripts hold '{SPACE}', which stands for the space in the vocabulary; choose a "
                "--vocabulary-normalizer that removes it, such as basic"
            )
        return cls(tuple(characters), normalizer)

    @property
    def tokens(self) -> dict[str, int]:
        """Token ids, as ``vocab.json`` of a ``Wav2Vec2CTCTokenizer`` holds them; a space has one in every language."""
        letters = [character for character in self.characters if character != " "]
        return {token: index for index, token in enumerate([BLANK, UNKNOWN, SPACE, *letters])}

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """How often each character that the head cannot write occurs in other texts, normalised alike."""
        normalize, known = get_normalizer(self.normalizer), set(self.characters)
        return Counter(character for text in texts for character in normalize(text) if character not in known)

    def write(self, folder: Path, family: str) -> None:
        """Writes the file that a family reads again, beside the model or the adapter.

        Args:
            folder: of the model.
            family: in the registry; an adapter's base may be of another.
        """
        facts = {"family": family, "normalizer": self.normalizer, "characters": list(self.characters)}
        (folder / _FILE).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_vocabulary(folder: str | Path) -> tuple[Vocabulary, str] | None:
    """Vocabulary and family in a local folder, or None where there is none.

    Raises:
        ModelError: the file is damaged.
    """
    path = Path(folder) / _FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Vocabulary(tuple(facts["characters"]), str(facts["normalizer"])), str(facts["family"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); copy it again from where the model was trained") from error


def normalizer_for_targets(language: str | None) -> str:
    """Id of the normaliser whose text a head learns by default: the language's, as long as it writes what is said.

    English's rewrites numbers and contractions, which no frame of the audio spells; the basic one does not.
    """
    if language and primary_subtag(language) == "en":
        return "basic"
    return normalizer_for_language(language).id


def is_letter(character: str) -> bool:
    """Letters, marks and digits: what cannot be left out of a target like a comma."""
    return unicodedata.category(character)[0] in "LMN"
