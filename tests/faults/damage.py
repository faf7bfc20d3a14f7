"""Every kind of file that augpro writes, cut short or with one bit flipped, and the command that reads it run again.

    python tests/faults/damage.py --scratch /tmp/damage --results benchmarks/results/damage.jsonl

The command must refuse the file by name, which is exit code 2 on the command line, or leave the same as with the
undamaged file. What is for people alone is read by nothing: ``report.html``, ``table.md``, ``samples.md``, logs, and
the scores of ``augpro evaluate --out`` and ``quickstart.json``. The files of a model that comes in a package are
compared with the package each time (``tests/test_named_models.py``).
"""

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
import damage_kinds


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the kind.
        reader: the command that reads it.
        make: writes such files in an empty folder.
        files: which they are, as a pattern.
        read: runs the command in the folder, and returns what it leaves.
    """

    name: str
    reader: str
    make: Callable[[Path], None]
    files: str
    read: Callable[[Path], Any]


def damages(flips: int) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """The first half alone, and one bit flipped at some places in turn."""
    yield "half", lambda content: content[: len(content) // 2]
    for number in range(flips):

        def flipped(content: bytes, number: int = number) -> bytes:
            place = len(content) * (2 * number + 1) // (2 * flips)
            return content[:place] + bytes([content[place] ^ 1 << number % 8]) + content[place + 1 :]

        yield f"bit flipped at {(2 * number + 1) / (2 * flips):.0%}", flipped


class Damager:
    """Makes the files of a kind once, and damages them one after the other.

    Args:
        kind: of the files.
        scratch: an empty folder.
    """

    def __init__(self, kind: Kind, scratch: Path) -> None:
        self.kind, self.work, self.saved = kind, scratch / "work", scratch / "saved"
        self.work.mkdir(parents=True)
        kind.make(self.work)
        shutil.copytree(self.work, self.saved)
        self.files = sorted(
            path.relative_to(self.work) for path in self.work.glob(kind.files) if path.is_file()
        )
        assert self.files, kind.name
        self.wanted = kind.read(self.work)

    def outcome(self, file: Path, harm: Callable[[bytes], bytes]) -> str:
        """What becomes of one damaged file."""
        from augpro.errors import InputError

        shutil.rmtree(self.work)
        shutil.copytree(self.saved, self.work)
        path = self.work / file
        whole = path.read_bytes()
        path.write_bytes(harm(whole))
        try:
            left = self.kind.read(self.work)
        except InputError as error:
            return "refused by name" if file.name in str(error) else f"refused: {error}"
        except Exception as error:  # noqa: BLE001 - a bug
            return f"ERROR: {type(error).__name__}: {error}"
        if left != self.wanted:
            return "USED"
        return "made again" if path.is_file() and path.read_bytes() == whole else "same result"

    def outcomes(self, flips: int) -> Iterator[dict[str, Any]]:
        """Every file with every damage."""
        for file in self.files:
            for damage, harm in damages(flips):
                yield {
                    "kind": self.kind.name, "reader": self.kind.reader, "file": file.name, "damage": damage,
                    "outcome": self.outcome(file, harm),
                }  # fmt: skip


GOOD = {"refused by name", "made again", "same result"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--flips", type=int, default=8, help="places at which a bit is flipped")
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    from augpro.results.environment import library_versions, machine_facts

    os.environ["HF_HUB_OFFLINE"] = "1"
    facts = {"versions": library_versions(), "machine": machine_facts()}
    found: Counter[tuple[str, str, str]] = Counter()
    for kind in damage_kinds.all_kinds(arguments.scratch):
        if arguments.only and kind.name not in arguments.only:
            continue
        for row in Damager(kind, arguments.scratch / f"{kind.name}-{kind.reader}".replace(" ", "-")).outcomes(
            arguments.flips
        ):
            found[kind.name, kind.reader, row["outcome"]] += 1
            if row["outcome"] not in GOOD:
                print(row, flush=True)
            with open(arguments.results, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, **facts}) + "\n")
        for (name, reader, outcome), count in found.items():
            if (name, reader) == (kind.name, kind.reader):
                print(f"| {name} | {reader} | {outcome} | {count} |", flush=True)


if __name__ == "__main__":
    main()
