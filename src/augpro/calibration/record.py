"""calibration.json in a student's folder: what ``augpro calibrate`` found, for augpro export, predict and report."""

from pathlib import Path

from pydantic import Field

from augpro.errors import InputError
from augpro.files.checksums import read_sealed, write_sealed
from augpro.results.result import Stored

FILE, FORMAT = "calibration.json", 1


class ReliabilityBin(Stored):
    """Rows with about the same confidence."""

    rows: int
    """How many."""
    confidence: float
    """Mean of their largest probabilities."""
    agreement: float
    """Share of them on which student and teacher agree."""


class Threshold(Stored):
    """A threshold and the rows above it that the temperature was not fitted on."""

    threshold: float = Field(ge=0, le=1)
    """Least largest probability."""
    coverage: float
    """Share of the rows that reach it."""
    agreement: float
    """Share of these on which student and teacher agree."""
    bound: float
    """Lower bound of it."""


class CalibrationRecord(Stored):
    """Temperature and threshold of a student's confidence, and how they were found."""

    format: int = FORMAT
    """Number of this layout."""
    temperature: float = Field(gt=0)
    """Logits are divided by it before the softmax."""
    threshold: float | None = Field(ge=0, le=1)
    """Least largest probability of a confident answer; null if none gives what was asked."""
    agree: float
    """Share of confident answers that were to agree with the teacher."""
    confidence: float
    """Probability that they do at least so often."""
    coverage: float
    """Share of the tested rows that reach the threshold."""
    rows: int
    """Different texts."""
    fitted_rows: int
    """Those of them that gave the temperature and the list of thresholds."""
    teacher: str
    """Name of the teacher."""
    data: str
    """Where the texts were from."""
    method: str
    """How the threshold was chosen."""
    ece_before: float
    """Expected calibration error of the tested rows at temperature 1."""
    ece_after: float
    """The same at the temperature."""
    agreement: float
    """Share of all tested rows on which student and teacher agree."""
    chosen: Threshold | None
    """The threshold, measured."""
    plain: Threshold | None
    """The smallest threshold whose measured agreement is what was asked, for comparison."""
    bins_before: tuple[ReliabilityBin, ...]
    """The tested rows by confidence at temperature 1."""
    bins_after: tuple[ReliabilityBin, ...]
    """The same at the temperature."""
    curve: tuple[tuple[float, float], ...]
    """Share of the tested rows, the most confident first, and how many of them agree."""

    def save(self, folder: Path) -> None:
        """Write it into a student's folder, whole or not at all."""
        write_sealed(folder / FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> "CalibrationRecord | None":
        """Read it from a student's folder; None if there is none.

        Raises:
            InputError: if the file is damaged or of a later version.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            found = cls(**read_sealed(path))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: is damaged or of another version; run augpro calibrate again, or remove the file."
            ) from error
        if found.format != FORMAT:
            raise InputError(
                f"{path}: has format {found.format}, and this version of augpro reads {FORMAT}; run augpro calibrate "
                "again."
            )
        return found
