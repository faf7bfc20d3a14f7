"""What ``/metrics`` says, in the form of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Measures:
    """Counters of one server.

    Attributes:
        registry: all of them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"augpro_{name}", about, labels, registry=self.registry)

        self.requests = counter("requests", "Calls of /predict by status of the answer", "status")
        self.texts = counter("texts", "Texts that were answered")
        self.below = counter("below_threshold_texts", "Texts of which the student was not confident")
        self.fallback = counter("fallback_texts", "Texts that the teacher answered")
        self.errors = counter("errors", "Calls or parts of calls that failed, by kind", "kind")
        self.seconds = Histogram(
            "augpro_request_seconds", "Time to answer a call", buckets=_SECONDS, registry=self.registry
        )
        self.batch = Histogram(
            "augpro_batch_texts", "Texts in a batch of the student", buckets=_TEXTS, registry=self.registry
        )
        self._answered = self._unsure = self._by_teacher = 0
        for name, about, share in (
            ("below_threshold_share", "Share of texts since the start below the threshold", self.below_share),
            (
                "fallback_share",
                "Share of texts since the start that the teacher answered",
                self.fallback_share,
            ),
        ):
            Gauge(f"augpro_{name}", about, registry=self.registry).set_function(share)

    def answered(self, texts: int, unsure: int, by_teacher: int) -> None:
        """Count the texts of an answered call."""
        self.texts.inc(texts)
        self.below.inc(unsure)
        self.fallback.inc(by_teacher)
        self._answered += texts
        self._unsure += unsure
        self._by_teacher += by_teacher

    def below_share(self) -> float:
        """Share of all texts of which the student was not confident."""
        return self._unsure / max(1, self._answered)

    def fallback_share(self) -> float:
        """Share of all texts that the teacher answered."""
        return self._by_teacher / max(1, self._answered)
