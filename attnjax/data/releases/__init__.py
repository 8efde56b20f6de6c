"""Official releases of data sets, read as they come out of their archives.

LAYOUTS is the one table: a new release joins by one line.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from attnjax.data.examples import Splits
from attnjax.data.releases import inference, news, reading, sentiment
from attnjax.data_config import DataConfig
from attnjax.errors import UserError


class Layout(NamedTuple):
    """One release: how it is known and read.

    files  names that nothing else has: where some of them lie, and others do not, those are told
    """

    title: str
    task: str
    find: Callable[[Path], Path | None]  # the folder with the files, or None: not this release
    read: Callable[[Path, DataConfig], Splits]
    files: tuple[str, ...] = ()


LAYOUTS = {
    "ag_news": Layout("AG News", "classification", news.find_ag_news, news.read_ag_news),
    "sst": Layout("SST (PTB trees)", "classification", sentiment.find_sst, sentiment.read_sst),
    "imdb": Layout("IMDB (aclImdb)", "classification", sentiment.find_imdb, sentiment.read_imdb),
    "newsgroups": Layout(
        "20 Newsgroups (by date)",
        "classification",
        news.find_newsgroups,
        news.read_newsgroups,
        news.NEWSGROUPS_FILES,
    ),
    "babi": Layout("bAbI", "qa", reading.find_babi, reading.read_babi),
    "cnn": Layout("CNN", "qa", reading.find_cnn, reading.read_cnn),
    "snli": Layout("SNLI", "nli", inference.find_snli, inference.read_snli, inference.SNLI_FILES),
    "multinli": Layout(
        "MultiNLI",
        "nli",
        inference.find_multinli,
        inference.read_multinli,
        inference.MULTINLI_FILES,
    ),
}


def recognise(path: str | Path) -> str | None:
    """Returns the name of the release that lies in this folder, None where it is none of them."""
    return next((name for name, _ in _matches(Path(os.path.expanduser(path)))), None)


def refuse_part(path: Path) -> None:
    """Raises UserError where some files of a release lie in the folder, or in one within it, and
    others do not."""
    for folder in (path, *sorted(each for each in path.iterdir() if each.is_dir())):
        for layout in LAYOUTS.values():
            missing = [name for name in layout.files if not (folder / name).exists()]
            if 0 < len(missing) < len(layout.files):
                raise UserError(
                    f"data.path: {folder} has a part of {layout.title} and lacks "
                    f"{', '.join(missing)}; put that there as well"
                )


def read_release(config: DataConfig, task: str) -> Splits:
    """Reads the release in `config.path`; raises UserError where it is none, or of another task."""
    folder = Path(os.path.expanduser(config.path))
    for name, root in _matches(folder):
        layout = LAYOUTS[name]
        if layout.task != task:
            raise UserError(
                f"data.path: {folder} is {layout.title}, a {layout.task} data set, but "
                f"task='{task}'; set --config.task={layout.task} or another data.path"
            )
        return layout.read(root, config)
    titles = ", ".join(layout.title for layout in LAYOUTS.values())
    raise UserError(f"data.path: {folder} holds none of the known releases ({titles})")


def _matches(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, layout in LAYOUTS.items():
        root = layout.find(folder)
        if root is not None:
            yield name, root
