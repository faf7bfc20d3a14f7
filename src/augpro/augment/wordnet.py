"""Synonyms from WordNet's database files; nothing is downloaded, unpickled or kept open.

nltk's reader is not used: it accepts only folders in its own data path, needs two files that Debian's package lacks
(``lexnames``, ``index.sense``), and is not thread-safe because its lookups share one file position.
"""

import os
import sys
import zipfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from augpro.errors import InputError

# Endings that morphy(7WN) removes, and their replacements.
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
             ("men", "man"), ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"),
             ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
_FILES = [name for pos in _ENDINGS for name in (f"index.{pos}", f"data.{pos}", f"{pos}.exc")]


class WordNet:
    """WordNet in memory, about 75 MB, read in half a second.

    Args:
        folder: holds ``index.*``, ``data.*`` and ``*.exc`` of nouns, verbs, adjectives and adverbs, in the format of
            wndb(5WN).
    """

    def __init__(self, folder: Traversable) -> None:
        self._index = {pos: _keyed(folder / f"index.{pos}") for pos in _ENDINGS}
        self._irregular = {pos: _keyed(folder / f"{pos}.exc") for pos in _ENDINGS}
        self._data = {pos: (folder / f"data.{pos}").read_bytes() for pos in _ENDINGS}
        self._known: dict[str, tuple[str, ...]] = {}

    @classmethod
    def load(cls) -> "WordNet":
        """The installed WordNet.

        Raises:
            InputError: if it is not installed.
        """
        return cls(find_wordnet())

    def synonyms(self, word: str) -> tuple[str, ...]:
        """The other words of every synset of a word, most frequent senses first.

        Args:
            word: in lower case; an inflected form is also looked up by its base forms.
        """
        if word not in self._known:
            members = [
                other for pos in _ENDINGS for form in self._forms(word, pos) for other in self._set(form, pos)
            ]
            self._known[word] = tuple(dict.fromkeys(other for other in members if other.lower() != word))
        return self._known[word]

    def _forms(self, word: str, pos: str) -> list[str]:
        """The word and its possible base forms, each once."""
        irregular = self._irregular[pos].get(word)
        if irregular is not None:
            return list(dict.fromkeys([word, *irregular]))
        cut = [word.removesuffix(old) + new for old, new in _ENDINGS[pos] if word.endswith(old)]
        return list(dict.fromkeys([word, *cut]))

    def _set(self, form: str, pos: str) -> Iterator[str]:
        """Every word of every synset of a base form, including itself."""
        fields = self._index[pos].get(form)
        if fields is None:
            return
        count = int(fields[1])  # after the part of speech
        for offset in map(int, fields[-count:]):
            line = self._data[pos][offset : self._data[pos].index(b"\n", offset)].decode().split()
            words = line[4 : 4 + 2 * int(line[3], 16) : 2]  # each is followed by its number in a file
            # Adjectives may carry a marker of their syntactic position: "galore(ip)".
            yield from (word.split("(")[0].replace("_", " ") for word in words)


def _keyed(file: Traversable) -> dict[str, list[str]]:
    """Fields of every line after the first, by the first; the licence's lines begin with a space."""
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines() if line[:1].strip())
    return {fields[0]: fields[1:] for fields in lines}


def find_wordnet() -> Traversable:
    """The folder of WordNet's database.

    Raises:
        InputError: if there is none.
    """
    for place in wordnet_places():
        if all((place / name).is_file() for name in _FILES):
            return place
    raise InputError(
        "eda needs WordNet, and its database is not installed: run apt-get install wordnet-base, or "
        "python -m nltk.downloader wordnet, or set WNSEARCHDIR to the folder of its file index.noun."
    )


def wordnet_places() -> Iterator[Traversable]:
    """Where WordNet may be: WordNet's environment variables, nltk's data folders, Debian's folder."""
    if "WNSEARCHDIR" in os.environ:
        yield Path(os.environ["WNSEARCHDIR"])
    if "WNHOME" in os.environ:
        yield Path(os.environ["WNHOME"]) / "dict"
    roots = [Path(root) for root in os.environ.get("NLTK_DATA", "").split(os.pathsep) if root]
    roots.append(Path.home() / "nltk_data")
    roots += [Path(sys.prefix) / part / "nltk_data" for part in (".", "share", "lib")]
    roots += [
        Path(top) / "nltk_data" for top in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")
    ]
    if "APPDATA" in os.environ:
        roots.append(Path(os.environ["APPDATA"]) / "nltk_data")
    for corpora in (root / "corpora" for root in roots):
        yield corpora / "wordnet"
        if zipfile.is_zipfile(corpora / "wordnet.zip"):
            yield zipfile.Path(corpora / "wordnet.zip", "wordnet/")
    yield Path("/usr/share/wordnet")
