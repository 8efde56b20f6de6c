"""What the release readers share: finding files, and reading whole ones."""

from pathlib import Path

from attnjax.data.lines import read_lines
from attnjax.errors import UserError


def first_with(path: Path, below: tuple[str, ...], wanted: tuple[str, ...]) -> Path | None:
    """Returns the folder, `path` or one `below` it, that holds everything `wanted`."""
    for folder in (path, *(path / name for name in below)):
        if all((folder / name).exists() for name in wanted):
            return folder
    return None


def read_text(path: Path, name: str, encoding: str = "utf-8") -> str:
    """Returns a whole file as text; raises UserError, calling it `name`, where it is not text."""
    return "".join(line for _, line in read_lines(path, name, encoding))


def first_line(path: Path) -> str:
    """Returns the first line, "" where there is none or the file is not text."""
    try:
        return next((line for _, line in read_lines(path)), "")
    except UserError:  # not a text file, so not the release looked for
        return ""


def by_number(path: Path) -> tuple[int, str]:
    """A sorting key that puts 9_1.txt before 10_1.txt."""
    digits = path.name.split(".")[0].split("_")[0]
    return (int(digits) if digits.isdecimal() else 0, path.name)
