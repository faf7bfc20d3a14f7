"""How many texts a second nlpaug augments, one process, its defaults; needs requirements-nlpaug.txt.

    python benchmarks/neighbours/nlpaug_words.py --rows texts.jsonl

Synonyms need data of nltk, which this script does not fetch (null in the JSON without it):

    python -m nltk.downloader wordnet omw-1.4 averaged_perceptron_tagger_eng
"""

import argparse
import json
import random
import time
from pathlib import Path

import nlpaug.augmenter.word as naw
import nltk

SYNONYM_DATA = ("corpora/wordnet", "corpora/omw-1.4", "taggers/averaged_perceptron_tagger_eng")
SECONDS = 2.0


def missing(name):
    for path in (name, f"{name}.zip"):
        try:
            nltk.data.find(path)
            return False
        except LookupError:
            pass
    return True


def speed(make, texts):
    """Augmented texts a second; the augmenter is made, and used once, before the clock starts."""
    augmenter = make()
    augmenter.augment(texts[:10])
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + SECONDS:
        count += len(augmenter.augment(texts))
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, required=True, help='JSON Lines, {"text": ...} a line')
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    with open(args.rows, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    rates, reasons = {}, {}
    for name in ("swap", "delete"):
        rates[f"random {name}"] = speed(lambda action=name: naw.RandomWordAug(action=action), texts)
    absent = [name for name in SYNONYM_DATA if missing(name)]
    if absent:
        # nlpaug would try to download it, without a limit of time.
        rates["synonym"], reasons["synonym"] = None, f"nltk's data is not installed: {', '.join(absent)}"
    else:
        rates["synonym"] = speed(lambda: naw.SynonymAug(aug_src="wordnet"), texts)
    print(json.dumps({"texts_per_second": rates, "reasons": reasons, "rows": len(texts)}))


if __name__ == "__main__":
    main()
