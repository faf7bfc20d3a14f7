"""Measures seconds and peak memory of every phase of a run; phases may alternate and nest.

On a CPU the peak is that of the resident memory of the process, sampled 100 times a second during the phase. It
includes the models, and shorter peaks can be missed. On CUDA it is the peak reported by the allocator.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

_INTERVAL = 0.01  # seconds between two samples of the resident memory
_MIB = 2**20


class Meter:
    """Assigns time and memory to the innermost active phase.

    Attributes:
        seconds: wall time by phase.
        peak_mib: peak memory by phase, in MiB.

    Example:
        >>> meter = Meter()
        >>> with meter.phase("train"):
        ...     with meter.phase("augment"):
        ...         pass
        >>> sorted(meter.seconds)
        ['augment', 'train']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.peak_mib: dict[str, float] = defaultdict(float)
        self._phases: list[str] = []
        self._since = 0.0
        self._process = psutil.Process()
        self._ended = threading.Event()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Assign the time inside to the phase ``name``; a nested phase is not counted in the outer one."""
        sampler = None if self._phases else self._start_sampling()
        self._charge()
        self._phases.append(name)
        try:
            yield
        finally:
            self._charge()
            self._phases.pop()
            if sampler:
                self._ended.set()
                sampler.join()

    def so_far(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds and peaks by phase up to now, including the active phase."""
        self._charge()
        return dict(self.seconds), dict(self.peak_mib)

    def add(self, seconds: dict[str, float], peak_mib: dict[str, float]) -> None:
        """Add measurements of an earlier process of the same run: sum of the seconds, maximum of the peaks."""
        for phase, spent in seconds.items():
            self.seconds[phase] += spent
        for phase, peak in peak_mib.items():
            self.peak_mib[phase] = max(self.peak_mib[phase], peak)

    def _charge(self) -> None:
        """Assign the time since the last change, and the peak, to the phase that was active."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # pending kernels belong to the phase that launched them
        now = time.perf_counter()
        if self._phases:
            self.seconds[self._phases[-1]] += now - self._since
            self._look(self._phases[-1])
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        self._since = now

    def _look(self, phase: str) -> None:
        on_cuda = torch.cuda.is_available()
        used = torch.cuda.max_memory_allocated() if on_cuda else self._process.memory_info().rss
        self.peak_mib[phase] = max(self.peak_mib[phase], used / _MIB)

    def _start_sampling(self) -> threading.Thread | None:
        if torch.cuda.is_available():
            return None
        self._ended = threading.Event()
        thread = threading.Thread(target=self._sample, args=(self._ended,), daemon=True)
        thread.start()
        return thread

    def _sample(self, ended: threading.Event) -> None:
        while not ended.wait(_INTERVAL):
            phases = self._phases[-1:]
            if phases:
                self._look(phases[0])
