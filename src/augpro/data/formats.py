"""Recognizes files in other formats by their content and says how to convert them; decodes text files.

People rename files, export them under a wrong name, or download a web page about a file. Every fix named here is a
command that works with installed software, or a step in the program that wrote the file.
"""

import codecs
import io
import re
import zipfile
from pathlib import PurePath

from augpro.errors import InputError

_EXPORT = "give a table of texts and labels, such as a .csv file"
_SHEET = "save it in the spreadsheet program as 'CSV UTF-8'"
_UNPACK = {
    b"\x1f\x8b": ("gzip-compressed", "gunzip"),
    b"BZh91AY&SY": ("bzip2-compressed", "bunzip2"),
    b"\xfd7zXZ\0": ("xz-compressed", "unxz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard-compressed", "unzstd"),
}
# First bytes, file type, and fix; {name} is the file's name as a Python string.
_PANDAS = 'python -c "import pandas; pandas.{read}.to_parquet({new})"'
_ARROW = 'convert it: python -c "import datasets; datasets.Dataset.from_file({name}).to_parquet({new})"'
_SQL = (
    "export a table of it, with its name in place of TABLE: "
    + _PANDAS.format(read="read_sql('select * from TABLE', sqlite3.connect({name}))", new="{new}")
).replace("import pandas", "import sqlite3, pandas")
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", "rename it to end in .parquet"),
    (b"\x89PNG", "a PNG image", _EXPORT),
    (b"\xff\xd8\xff", "a JPEG image", _EXPORT),
    (b"GIF8", "a GIF image", _EXPORT),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"\x7fELF", "a program", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or Word document (.xls, .doc)", _SHEET),
    (b"SQLite format 3\0", "an SQLite database",
     _SQL),
    (b"ARROW1\0\0", "an Arrow file",
     f"convert it: {_PANDAS.format(read='read_feather({name})', new='{new}')}"),
    (b"\xff\xff\xff\xff", "an Arrow stream, as datasets keeps it", _ARROW),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "a NumPy array", _EXPORT),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and give the file that is in it"),
    (b"Rar!", "a RAR archive", "unpack it and give the file that is in it"),
    (b"version https://git-lfs", "the pointer that Git LFS leaves in place of a file",
     "run git lfs pull in its repository"),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)
_BOM = b"\xef\xbb\xbf"
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def not_a_table(name: str, data: bytes) -> tuple[str, str] | None:
    """The type of a file that is neither text nor a table, and the fix; None for a possible table.

    Args:
        name: of the file.
        data: its content, or at least the beginning.
    """
    safe = pasted(name)
    path = PurePath(safe)
    names = {"name": repr(safe), "new": repr(str(path.with_name(f"{path.stem}-table.parquet")))}
    for magic, (what, command) in _UNPACK.items():
        if data.startswith(magic):
            inner = PurePath(re.sub(r"\.(gz|bz2|xz|zst)$", "", safe, flags=re.IGNORECASE))
            new = inner if str(inner) != safe else inner.with_stem(f"{inner.stem}-unpacked")
            return what, f'unpack it: {command} < "{safe}" > "{new}"'
    if data.startswith(b"PK\x03\x04"):
        return _zip(data, path)
    for magic, what, fix in _KINDS:
        if data.startswith(magic):
            return what, fix.format(**names)
    if _PICKLE.match(data) and data.endswith(b"."):
        convert = _PANDAS.format(read=f"read_pickle({names['name']})", new=names["new"])
        fix = f"to read one can run code, so only if you trust who made it, convert it: {convert}"
        return "a Python pickle", fix
    if data[257:262] == b"ustar":
        return "a tar archive", f'unpack it: tar -xf "{safe}", and give the file that is in it'
    if _HTML.match(data.removeprefix(_BOM)[:500]):
        return "a web page or XML", "download the file itself, not the page that shows it"
    return None


def _zip(data: bytes, path: PurePath) -> tuple[str, str]:
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        entries = []
    if not entries:
        return "a zip archive or an Excel workbook, cut short", "download it again, or export it as .csv"
    if any(entry.startswith("word/") for entry in entries):
        return "a Word document", _EXPORT
    if any(entry.startswith("xl/") for entry in entries):
        new = str(path.with_name(f"{path.stem}-table.csv"))
        convert = f"pandas.read_excel({str(path)!r}).to_csv({new!r}, index=False)"
        return (
            "an Excel workbook",
            f'{_SHEET}, or convert it by pandas and openpyxl: python -c "import pandas; {convert}"',
        )
    if "content.xml" in entries:
        return "a spreadsheet or document of LibreOffice", _SHEET
    inside = next((entry for entry in entries if not entry.endswith("/")), entries[0])
    return (
        "a zip archive",
        f'unpack it: python -m zipfile -e "{path}" . and give a file of it, such as {inside}',
    )


def pasted(name: str, otherwise: str = "FILE") -> str:
    """A file name for a command in double quotes; ``otherwise`` if the name has characters with a special meaning."""
    return name if re.fullmatch(r"[\w ./:\\()+,@~-]+", name) else otherwise


def text_of(name: str, data: bytes) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises:
        InputError: if it has another encoding, with the command that converts it, or is not text.
    """
    body = data.removeprefix(_BOM)
    wide = next((encoding for mark, encoding in _WIDE.items() if data.startswith(mark)), None)
    if wide is None and b"\0" in body[:4096]:
        wide = _unmarked(body[:4096])
    if wide:
        raise InputError(
            f"{name}: the file is not UTF-8 (byte 0, row 1) but {wide.upper()}; {_convert(name, wide)}"
        )
    if (nul := data.find(b"\0")) >= 0:
        rows = sorted({_row(data, match.start()) for match in re.finditer(rb"\0", data)})
        raise InputError(
            f"{name}, row {rows[0]}: the file holds a NUL byte (byte {nul}), which no text does; "
            f"export it again in UTF-8, or remove it{more_rows(rows)}"
        )
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(name, data, error.start + len(data) - len(body)) from error


def _unmarked(sample: bytes) -> str | None:
    """UTF-16 without a byte order mark: Latin letters have a zero in every second byte."""
    half = len(sample) // 2
    first, second = sample[::2], sample[1::2]
    for encoding, zeros, letters in (("utf-16-le", second, first), ("utf-16-be", first, second)):
        if half and zeros.count(0) > 0.6 * half > letters.count(0):
            return encoding
    return None


def _not_utf8(name: str, data: bytes, offset: int) -> InputError:
    """The error for bytes that are not UTF-8: another encoding, or a few damaged bytes in UTF-8."""
    place = f"{name}, row {_row(data, offset)}: "
    lines = [(number, line.decode("utf-8", "replace")) for number, line in enumerate(data.split(b"\n"), 1)]
    broken = [number for number, line in lines if "\ufffd" in line]
    whole = sum(not line.isascii() for number, line in lines if "\ufffd" not in line)
    if whole > len(broken):
        return InputError(
            f"{place}the file is UTF-8, but not here (byte {offset}); correct the damaged letters of that row"
            f"{more_rows(broken)}"
        )
    encoding = "cp1252"
    try:
        start = max(data.rfind(mark, 0, offset) for mark in b"\n ,;\t") + 1
        word = re.match(rb"[^\s,;]*", data[start:])
        seen = word[0].decode(encoding) if word else ""
        data.decode(encoding)
    except UnicodeDecodeError:
        return InputError(
            f"{place}the file is not UTF-8 (byte {offset}); save it as UTF-8 in the program that wrote it "
            "(in a spreadsheet program: 'CSV UTF-8')"
        )
    return InputError(
        f"{place}the file is not UTF-8 (byte {offset}); if {seen!r} is right there, {_convert(name, encoding)}, "
        "else write the encoding that it was saved in for cp1252"
    )


def _convert(name: str, encoding: str) -> str:
    """The command that converts a file to UTF-8; it needs only Python and changes no other byte."""
    path = PurePath(name := pasted(name))
    new = str(path.with_name(f"{path.stem}-utf8{path.suffix}"))
    return (
        f'convert it: python -c "from pathlib import Path; '
        f'Path({new!r}).write_bytes(Path({name!r}).read_bytes().decode({encoding!r}).encode())"'
    )


def _row(data: bytes, offset: int) -> int:
    return len(data[: offset + 1].splitlines())  # for bytes, lines end only at CR, LF or CRLF


def more_rows(rows: list[int], most: int = 4) -> str:
    """Other rows with the same problem, to append to the message about the first; empty if there are none.

    >>> more_rows([3]), more_rows([3, 5]), more_rows([3, 5, 6, 9, 11])
    ('', ' (2 such rows: 3, 5)', ' (5 such rows: 3, 5, 6, 9 and 1 more)')
    """
    if len(rows) < 2:
        return ""
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return f" ({len(rows)} such rows: {', '.join(map(str, rows[:most]))}{more})"
