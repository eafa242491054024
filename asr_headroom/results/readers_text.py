r"""Plain text files of references or hypotheses: sclite's trn, STM and CTM, Kaldi's text, and line by line.

Each needs a second file: one holds the references, the other the hypotheses. Lines end at "\n" only, because a
transcript may hold U+2028 or U+0085. A blank line of a line-by-line file is an utterance in which nothing was said or
heard; dropping it would shift all that follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asr_headroom.errors import ResultsError
from asr_headroom.results.readers_rows import Entry, Side, TimedWord

__all__ = ["decode", "kaldi_ids", "read_kaldi", "read_lines", "read_words", "text_format"]

_IGNORED = "ignore_time_segment_in_scoring"
_TRN = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*", re.DOTALL)
# Ids with spaces are ids where no two lines have the same: "(laughs)" at the end of many is none.
_LOOSE_TRN = re.compile(r"(.*?)\s*\(\s*([^()]*[^()\s])\s*\)\s*", re.DOTALL)
_LABEL = re.compile(r"<[^>\s]*>\s*")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
          b"\xfe\xff": "utf-16"}  # fmt: skip


def decode(path: Path) -> str:
    r"""A file's text with "\n" line ends: UTF-8, or UTF-16 and UTF-32 that say so in their first bytes.

    Raises:
        ResultsError: the file cannot be read, is empty, or is not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or error}); give a file of predictions") from error
    if not content.strip():
        raise ResultsError(f"{path}: is empty; give a file with one text per utterance")
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    if encoding.startswith("utf-8") and b"\0" in content[:4096]:
        raise ResultsError(f"{path}: is not text (it holds zero bytes); save it as UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ResultsError(f"{path}:{line}: is not {encoding.upper()}; save the file as UTF-8") from error
    text = text.replace("\r\n", "\n")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    if not text.strip():
        raise ResultsError(f"{path}: is empty; give a file with one text per utterance")
    return text


def text_format(text: str) -> str:
    """``trn``, ``stm``, ``ctm``, or ``lines``: what the shape of every line agrees with."""
    lines = [line for line in text.split("\n") if line.strip()]
    if all(_TRN.fullmatch(line) for line in lines):
        return "trn"
    loose = [match[2] for line in lines if (match := _LOOSE_TRN.fullmatch(line))]
    if len(set(loose)) == len(lines) > 1:
        return "trn"
    spoken = [line.split(None, 6) for line in lines if not line.startswith(";;")]
    if spoken and all(len(f) >= 5 and _is_time(f[3]) and _is_time(f[4]) and not _is_time(f[2]) for f in spoken):
        return "stm"
    if spoken and all(len(f) >= 5 and _is_time(f[2]) and _is_time(f[3]) for f in spoken):
        return "ctm"
    return "lines"


def read_words(path: Path, text: str) -> list[TimedWord]:
    """The words of a CTM: recording, channel, begin, duration, word.

    Raises:
        ResultsError: a line is malformed, or states alternatives.
    """
    words = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split()
        if fields[4].upper().startswith("<ALT"):
            raise ResultsError(f"{path}:{number}: states alternatives ({fields[4]}); keep one word per time")
        if len(fields) > 8:
            raise ResultsError(f"{path}:{number}: has {len(fields)} fields; a CTM has one word per line")
        words.append(TimedWord(fields[0], fields[1], float(fields[2]), float(fields[3]), fields[4]))
    return words


def read_lines(path: Path, text: str, kind: str, role: str) -> Side:
    """The utterances of a trn, an STM, or a line-by-line file.

    Args:
        path: for messages.
        text: of the whole file.
        kind: what :func:`text_format` said.
        role: ``reference`` or ``hypothesis``.

    Raises:
        ResultsError: a line is malformed.
    """
    if kind == "stm":
        return _stm(path, text, role)
    lines = text.removesuffix("\n").split("\n")
    if kind == "lines":
        entries = [_entry(f"{path}:{number}", role, line) for number, line in enumerate(lines, start=1)]
        return Side(path, "plain text, line by line", entries)
    entries = []
    for number, line in enumerate(lines, start=1):
        match = _LOOSE_TRN.fullmatch(line)
        if match:
            entries.append(_entry(f"{path}:{number}", role, match[1], match[2]))
    return Side(path, "sclite trn", entries, notes=_alternatives(path, entries, role))


def kaldi_ids(side: Side, role: str, known: set[str] | None = None) -> list[str] | None:
    """The ids in front of the lines of a Kaldi ``text`` file; None where the first words are no ids.

    They are ids when no two are equal and each is followed by a tab, is among the ids ``known`` from the other file,
    or holds a digit or an underscore.
    """
    lines = [getattr(entry, role) or "" for entry in side.entries]
    words = [line.split(None, 1) for line in lines]
    ids = [fields[0] for fields in words if fields]
    if len(ids) < len(lines) or len(set(ids)) < len(ids):
        return None
    if all("\t" in line for line in lines) or (known is not None and known & set(ids)):
        return ids
    # A text whose lines hold one word each is a text, whatever that word looks like.
    has_texts = sum(len(fields) > 1 for fields in words) > len(words) / 2 or role == "hypothesis"
    return ids if has_texts and all(re.search(r"[\d_]", id_) for id_ in ids) else None


def read_kaldi(side: Side, role: str) -> Side:
    """A line-by-line file whose lines begin with an id, as such."""
    entries = []
    for entry in side.entries:
        id_, _, text = (getattr(entry, role) or "").strip().replace("\t", " ", 1).partition(" ")
        entries.append(_entry(entry.where, role, text.strip(), id_))
    return Side(side.path, "Kaldi text", entries)


def _entry(where: str, role: str, text: str, id_: str | None = None) -> Entry:
    entry = Entry(where, id=id_)
    setattr(entry, role, text)
    return entry


def _stm(path: Path, text: str, role: str) -> Side:
    entries, ignored = [], 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        where = f"{path}:{number}"
        recording, channel, speaker, begin, end, *rest = line.split(None, 5)
        start, stop = float(begin), float(end)
        if stop < start:
            raise ResultsError(f"{where}: ends at {stop:g} s before it begins at {start:g} s; exchange the two times")
        words = _LABEL.sub("", rest[0].strip(), count=1) if rest and rest[0].startswith("<") else "".join(rest).strip()
        entry = _entry(where, role, words, f"{recording}-{channel}-{start:.3f}-{stop:.3f}")
        entry.speaker, entry.start, entry.end, entry.duration = speaker, start, stop, stop - start
        entry.extras = {"recording": recording, "channel": channel}
        if words.casefold() == _IGNORED:
            ignored += 1
            entry.extras["ignored"] = True
        entries.append(entry)
    notes = _alternatives(path, entries, role)
    if ignored:
        notes.append(f"{path}: {ignored} segments are marked {_IGNORED}; they and the words in them are not scored")
    return Side(path, "STM", entries, notes=notes)


def _alternatives(path: Path, entries: Sequence[Entry], role: str) -> list[str]:
    number = sum(bool(re.search(r"\{.*/.*\}", getattr(entry, role) or "")) for entry in entries)
    if not number:
        return []
    return [f"{path}: {number} texts hold alternatives such as {{ a / b }}; they are scored as they are written"]


def _is_time(word: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?|\.\d+", word) is not None
