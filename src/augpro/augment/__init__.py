"""The table of augmentation methods by name, and how to build and register them."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from augpro.augment.base import (
    AugmentContext,
    Augmenter,
    EmbeddingSpace,
    Store,
    TrainingState,
    VirtualRows,
)
from augpro.augment.counts import ReplacementCounts
from augpro.augment.methods.combined import Part, read_parts
from augpro.augment.methods.compose import Compose
from augpro.augment.methods.counterfactual import Counterfactual
from augpro.augment.methods.masked import MaskedLM
from augpro.augment.methods.perturb import FGSM, KNN, Mix, Noise
from augpro.augment.methods.projected import AugPro, Projected
from augpro.augment.methods.replace import Crossover, DrawnReplacement, Random, Replaced, TokenReplacement
from augpro.augment.methods.several import Several
from augpro.augment.methods.text import EDA
from augpro.augment.methods.tmix import TMix
from augpro.augment.methods.translate import BackTranslation
from augpro.augment.methods.virtual import Mixup, Smart, VirtualFGSM
from augpro.plugins import Registry

__all__ = [
    "AUGMENTERS",
    "EDA",
    "FGSM",
    "AugPro",
    "AugmentContext",
    "Augmenter",
    "BackTranslation",
    "Compose",
    "Counterfactual",
    "Crossover",
    "DrawnReplacement",
    "EmbeddingSpace",
    "MaskedLM",
    "Method",
    "Mix",
    "Mixup",
    "Noise",
    "Part",
    "Projected",
    "Random",
    "Replaced",
    "ReplacementCounts",
    "Several",
    "Smart",
    "Store",
    "TMix",
    "TokenReplacement",
    "TrainingState",
    "VirtualFGSM",
    "VirtualRows",
    "augmenter",
    "register_augmenter",
]


@dataclass(frozen=True)
class Method:
    """A class of augmenters and its presets.

    Attributes:
        kind: the class; its fields are the method's options.
        perturbation: for ``AugPro``: the class that moves tokens; its fields are options too.
        presets: option values by preset name; ``recommended`` overrides the defaults of the classes.
    """

    kind: type[Any]
    perturbation: type | None = None
    presets: dict[str, dict[str, Any]] = field(default_factory=lambda: {"recommended": {}})

    @property
    def explained(self) -> type:
        """The class whose docstring describes the method."""
        return self.perturbation or self.kind

    def option_names(self) -> list[str]:
        """Every option, sorted."""
        classes = [self.kind, *([self.perturbation] if self.perturbation else [])]
        return sorted({f.name for kind in classes for f in fields(kind)} - {"perturbation"})


# The paper projects every position onto the whole vocabulary. It does not publish the step size, so the preset keeps
# the target rate. Recommended settings: benchmarks/LOG.md.
_PAPER = {"replace_fraction": 1.0, "exclude_parents": False}
_STEPPED = {"recommended": {"replace_fraction": 0.3, "target_rate": 0.5}, "paper": _PAPER}
_CROSSED = {"replace_fraction": 0.3, "partner_fraction": 0.5}
_MIX = {"recommended": _CROSSED, "paper": {**_PAPER, "weight": 0.5, "repeat_partner": False}}
# TinyBERT replaces a word with probability 0.4 by one of 15 neighbours.
_KNN = {"recommended": {"replace_fraction": 0.4, "top_k": 15}}
_OWN: dict[str, Method] = {
    "augpro-mix": Method(AugPro, Mix, _MIX),
    "augpro-fgsm": Method(AugPro, FGSM, _STEPPED),
    "augpro-noise": Method(AugPro, Noise, _STEPPED),
    "counterfactual": Method(Counterfactual),
    "random": Method(Random),
    "knn": Method(AugPro, KNN, _KNN),
    "crossover": Method(Crossover),
    "mixup": Method(Mixup),
    "fgsm": Method(VirtualFGSM),
    "tmix": Method(TMix),
    "smart": Method(Smart),
    "eda": Method(EDA),
    "masked-lm": Method(MaskedLM),
    "back-translation": Method(BackTranslation),
    "compose": Method(Compose, presets={"recommended": {"of": "crossover+knn"}}),
    "several": Method(Several, presets={"recommended": {"of": "augpro-mix+knn+random"}}),
}


def _method_of(given: Any) -> Method:
    """The ``Method`` of an external class of augmenters, or an external ``Method`` as it is."""
    method = given if isinstance(given, Method) else Method(given)
    if not (
        isinstance(method.kind, type) and issubclass(method.kind, Augmenter) and is_dataclass(method.kind)
    ):
        raise TypeError(f"{given!r} is not a dataclass of parameters derived from augpro.augment.Augmenter")
    return method


AUGMENTERS = Registry("augpro.augmenters", _OWN, _method_of, reserved=("none", "fine-tune"))


def register_augmenter(name: str, kind: Any) -> None:
    """Register your own method under a name, in this process; see :mod:`augpro.plugins` for packages.

    Args:
        name: for ``augment`` and ``--augment``.
        kind: a frozen dataclass derived from :class:`Augmenter`, or a :class:`Method` with presets.

    Raises:
        ValueError: if the name is taken.
        TypeError: if ``kind`` is neither.
    """
    AUGMENTERS.register(name, kind)


def augmenter(name: str, preset: str = "recommended", **options: Any) -> Augmenter:
    """Build an augmenter from its name, a preset and options that override it.

    Args:
        name: a key of ``AUGMENTERS``.
        preset: "recommended", or "paper" for the AugPro methods.
        **options: parameters of the method, by name.

    Raises:
        ValueError: if the name, the preset, an option or a value is wrong; the message names it.

    Example:
        >>> augmenter("augpro-mix", replace_fraction=0.3).parameters["replace_fraction"]
        0.3
        >>> augmenter("augpro-mix", preset="paper").parameters["exclude_parents"]
        False
    """
    if name not in AUGMENTERS:
        raise ValueError(f"augment must be none or one of {', '.join(AUGMENTERS)}, not {name!r}")
    method = AUGMENTERS[name]
    if preset not in method.presets:
        raise ValueError(f"preset must be one of {', '.join(method.presets)}, not {preset!r}")
    known = method.option_names()
    for key in options:
        if key not in known:
            raise ValueError(f"{name} has no option {key!r}; it has {', '.join(known)}")
    values = {**method.presets[preset], **options}
    if method.perturbation is not None:
        moving = {f.name for f in fields(method.perturbation)}
        values["perturbation"] = method.perturbation(**{k: values.pop(k) for k in moving & values.keys()})
    if "of" in known:
        values["of"] = tuple(Part(each, augmenter(each, **given)) for each, given in read_parts(values["of"]))
    built: Augmenter = _built(method.kind, values)
    return built


def _built(kind: type[Any], values: dict[str, Any]) -> Any:
    """An object of a dataclass from plain values, and those of its fields that are dataclasses likewise.

    Raises:
        ValueError: if text is given for a number.
    """
    values = dict(values)
    for own in fields(kind):
        default = own.default if own.default_factory is MISSING else own.default_factory()
        given = values.get(own.name)
        if is_dataclass(default) and not isinstance(default, type) and isinstance(given, Mapping):
            values[own.name] = _built(type(default), dict(given))
        elif isinstance(default, int | float) and isinstance(given, str):
            raise ValueError(f"{own.name} must be a number such as {default}, not {given!r}")
    return kind(**values)
