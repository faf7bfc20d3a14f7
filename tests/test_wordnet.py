"""Reading WordNet's files: a small database of the same format, and Debian's where it is installed."""

import zipfile
from pathlib import Path

import pytest

from augpro.augment import wordnet as wordnet_module
from augpro.augment.methods.text import EDA
from augpro.augment.wordnet import WordNet, find_wordnet
from augpro.errors import InputError
from text_sources import MANY, write_wordnet


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("movie", ("film", "picture", "motion picture")),
        ("film", ("movie", "picture", "motion picture", "Coating", "shoot")),  # two nouns, then a verb
        ("coating", ("film",)),  # itself is left out, whatever its case
        ("geese", ("goose", "silly bird")),  # irregular
        ("galore", ("abounding",)),  # its marker is cut off
        ("abounding", ("galore",)),
        ("better", ("good", "well-grounded")),  # one base is in the database, the other is not
        ("works", ("work", "run")),
        ("working", ("work", "run")),
        ("filmed", ("film", "shoot")),
        ("pages", ("page", "sheet")),
        ("greatest", ("great", "outstanding")),
        ("again", ("anew",)),
        ("word3", (*MANY[:3], *MANY[4:])),
        ("this", ()),  # a word of the licence's lines
        ("zebra", ()),
    ],
)
def test_synonyms_are_read_from_wordnets_files(wordnet, word, expected):
    assert wordnet.synonyms(word) == expected


def test_wordnet_is_found_where_it_may_be(wordnet_folder, tmp_path, monkeypatch):
    for name in ("WNSEARCHDIR", "WNHOME", "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "WordNet").mkdir()
    (tmp_path / "WordNet" / "dict").symlink_to(wordnet_folder)
    (tmp_path / "data" / "corpora").mkdir(parents=True)
    (tmp_path / "data" / "corpora" / "wordnet").symlink_to(wordnet_folder)
    (tmp_path / "zipped" / "corpora").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "zipped" / "corpora" / "wordnet.zip", "w") as file:
        for path in wordnet_folder.iterdir():
            file.write(path, f"wordnet/{path.name}")
    for name, value in {
        "WNSEARCHDIR": wordnet_folder, "WNHOME": tmp_path / "WordNet", "NLTK_DATA": f"/none:{tmp_path / 'data'}",
    }.items():  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setenv(name, str(value))
            assert str(tmp_path.parent) in str(find_wordnet()), name
            assert WordNet.load().synonyms("again") == ("anew",), name
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "zipped"))
    assert WordNet.load().synonyms("movie") == ("film", "picture", "motion picture")


def test_missing_wordnet_is_told_with_the_mend(wordnet_folder, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    write_wordnet(broken)
    (broken / "data.verb").unlink()
    monkeypatch.setattr(wordnet_module, "wordnet_places", lambda: iter([broken, wordnet_folder]))
    assert find_wordnet() == wordnet_folder
    monkeypatch.setattr(wordnet_module, "wordnet_places", lambda: iter([broken]))
    for method in (EDA(), EDA(synonym=0.0), EDA(insertion=0.0)):
        with pytest.raises(
            InputError, match=r"WordNet.*apt-get install wordnet-base.*nltk\.downloader.*WNSEARCHDIR"
        ):
            method.check()
    EDA(synonym=0.0, insertion=0.0).check()  # needs none


@pytest.mark.skipif(
    not Path("/usr/share/wordnet/data.noun").is_file(), reason="Debian's WordNet is not installed"
)
def test_debians_wordnet():
    wordnet = WordNet(Path("/usr/share/wordnet"))
    assert {"movie", "picture", "celluloid"} <= set(wordnet.synonyms("films"))
    assert wordnet.synonyms("galore") == ("abounding",)
    assert "goof" in wordnet.synonyms("geese")
