"""How often each token of a vocabulary occurs in ordinary text, as far as its tokenizer knows."""

import json

import torch
from torch import Tensor

from augpro.vocabulary import BANNED, Vocabulary


def token_frequencies(vocabulary: Vocabulary) -> Tensor:
    """Estimated relative frequency of every allowed token; no texts are counted.

    A Unigram tokenizer stores the probability of each token in the texts that it was trained on. Those of other
    tokenizers are estimated by Zipf's law from the order of the ids among the allowed tokens, as Model2Vec does: the
    token of rank r = 0, 1, ... has a frequency proportional to 1 / (r + 2). WordPiece vocabularies are roughly in the
    order of frequency and those of byte-pair encoding in that of the merges; in both, single characters come first,
    however rare they are. So the estimate is rough, and it does not know the task's own texts.

    Args:
        vocabulary: of the tokenizer.

    Returns:
        float64 [V], with sum 1; 0 for tokens in no group.
    """
    allowed = (vocabulary.groups != BANNED).cpu()
    weight = allowed.double()
    model = json.loads(vocabulary.tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] == "Unigram":
        scores = torch.tensor([score for _, score in model["vocab"][: len(weight)]], dtype=torch.float64)
        weight[: len(scores)] *= scores.exp()
    else:
        weight /= allowed.cumsum(0) + 1
    return weight / weight.sum()
