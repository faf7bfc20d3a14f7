"""Synonyms from WordNet's own database files; nothing is downloaded, unpickled or kept open.

nltk's reader of these files is not used: it refuses every folder outside its own data path, wants two files
that Debian's package lacks (``lexnames``, ``index.sense``), and its lookups share one file position, which
threads would move under each other.
"""

import os
import sys
import zipfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from augpro.errors import InputError

# Endings that morphy(7WN) takes off, and what it puts in their place.
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
        folder: holds ``index.*``, ``data.*`` and ``*.exc`` of nouns, verbs, adjectives and adverbs, as
            wndb(5WN) describes them.
    """

    def __init__(self, folder: Traversable) -> None:
        self._index = {pos: _keyed(folder / f"index.{pos}") for pos in _ENDINGS}
        self._irregular = {pos: _keyed(folder / f"{pos}.exc") for pos in _ENDINGS}
        self._data = {pos: (folder / f"data.{pos}").read_bytes() for pos in _ENDINGS}
        self._known: dict[str, tuple[str, ...]] = {}

    @classmethod
    def load(cls) -> "WordNet":
        """WordNet from where it is installed.

        Raises:
            InputError: if it is not.
        """
        return cls(find_wordnet())

    def synonyms(self, word: str) -> tuple[str, ...]:
        """The other words of every set of synonyms that a word is in, most frequent senses first.

        Args:
            word: in lower case; an inflected form is also looked up by its base forms.
        """
        if word not in self._known:
            found = [
                other for pos in _ENDINGS for form in self._forms(word, pos) for other in self._set(form, pos)
            ]
            self._known[word] = tuple(dict.fromkeys(other for other in found if other.lower() != word))
        return self._known[word]

    def _forms(self, word: str, pos: str) -> list[str]:
        """The word and its possible base forms, each once."""
        irregular = self._irregular[pos].get(word)
        if irregular is not None:
            return list(dict.fromkeys([word, *irregular]))
        cut = [word.removesuffix(old) + new for old, new in _ENDINGS[pos] if word.endswith(old)]
        return list(dict.fromkeys([word, *cut]))

    def _set(self, form: str, pos: str) -> Iterator[str]:
        """Every word of every synset of a base form, itself among them."""
        fields = self._index[pos].get(form)
        if fields is None:
            return
        count = int(fields[1])  # after the part of speech
        for offset in map(int, fields[-count:]):
            line = self._data[pos][offset : self._data[pos].index(b"\n", offset)].decode().split()
            words = line[4 : 4 + 2 * int(line[3], 16) : 2]  # each is followed by its number in a file
            # Adjectives carry a marker of where they may stand: "galore(ip)".
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
        "eda takes synonyms from WordNet, whose database is not installed: run apt-get install wordnet-base, or "
        "python -m nltk.downloader wordnet, or set WNSEARCHDIR to the folder of its file index.noun."
    )


def wordnet_places() -> Iterator[Traversable]:
    """Where WordNet may be: where WordNet's own variables say, in nltk's data folders, where Debian puts it."""
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
