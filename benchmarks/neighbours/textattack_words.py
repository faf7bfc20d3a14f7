"""How many augmented texts a second TextAttack makes, one process, its defaults; needs requirements-textattack.txt.

    python benchmarks/neighbours/textattack_words.py --rows texts.jsonl

Nothing is fetched: what is neither in nltk's data nor in TextAttack's cache is null in the JSON. The first import of
textattack with a network fetches nltk's part, the first EmbeddingAugmenter its word vectors.
"""

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

SECONDS = 5.0
VECTORS = "word_embeddings/paragramcf"  # in TextAttack's cache


def stand_in_stopwords(folder):
    """Give nltk a list of stop words if it has none: without one textattack cannot even be imported."""
    import nltk
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    try:
        nltk.corpus.stopwords.words("english")
        return "nltk's"
    except LookupError:
        path = Path(folder, "corpora", "stopwords", "english")
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(sorted(ENGLISH_STOP_WORDS)), encoding="utf-8")
        nltk.data.path.insert(0, folder)
        return "scikit-learn's, as nltk's are not installed"


def speed(make, texts):
    """Augmented texts a second, or None and the reason; making and warming up are not counted."""
    try:
        augmenter = make()
        for text in texts[:10]:
            augmenter.augment(text)
        count, start = 0, time.perf_counter()
        while time.perf_counter() < start + SECONDS:
            count += len(augmenter.augment(random.choice(texts)))
        return count / (time.perf_counter() - start), None
    except LookupError as error:  # nltk's, which names what is missing at its beginning
        return None, " ".join(str(error).replace("*", "").split()).split(" Please")[0]


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
    # Nothing listens there, so an attempt to download fails at once instead of hanging.
    os.environ |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9") | {"HF_HUB_OFFLINE": "1"}
    cache = Path(os.environ.get("TA_CACHE_DIR", "~/.cache/textattack")).expanduser()
    with tempfile.TemporaryDirectory() as folder:
        if not (cache / "post_install_check_3").exists():
            # A cache that was never filled must not be marked as filled.
            os.environ["TA_CACHE_DIR"] = folder
        stopwords = stand_in_stopwords(folder)
        from textattack.augmentation import recipes

        kinds = {
            "embedding": recipes.EmbeddingAugmenter,
            "easy data": recipes.EasyDataAugmenter,
            "deletion": recipes.DeletionAugmenter,
            "swap": recipes.SwapAugmenter,
        }
        if not (cache / VECTORS).exists():
            del kinds["embedding"]
        found = {name: speed(make, texts) for name, make in kinds.items()}
    found.setdefault(
        "embedding", (None, f"its word vectors, a download, are not there: TextAttack's {VECTORS}")
    )
    result = {
        "texts_per_second": {name: rate for name, (rate, _) in found.items()},
        "reasons": {name: reason for name, (_, reason) in found.items() if reason},
        "rows": len(texts), "stop words": stopwords,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
