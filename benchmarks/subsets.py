"""The parts of SNLI and IMDB that pretrained models are compared on, as JSONL files.

python benchmarks/subsets.py --snli=DIR --imdb=DIR --edited=DIR --out=OUT

--snli    train, validation and test .jsonl.gz with premise, hypothesis and label
--imdb    train.jsonl.gz with text and label, 0 or 1
--edited  test.jsonl.gz of Kaushik et al. (ICLR 2020): text, label, tokens, and edited, the numbers
          of the words that people changed to turn the label

Writes OUT/snli (6,000, 1,000 and 1,000 pairs) and OUT/imdb (4,000 and 500 reviews of IMDB's
training split, 400 edited ones to test on; of reviews that are in both those of training go).
"""

import argparse
import gzip
import json
import pathlib
import random
from typing import Any

SNLI = {"train": 6000, "validation": 1000, "test": 1000}
IMDB = {"train": 4000, "validation": 500, "test": 400}
LABELS = {"Negative": 0, "Positive": 1}
START = 200  # letters and digits by which a review is known again

Rows = list[dict[str, Any]]


def read(folder: str, split: str) -> Rows:
    with gzip.open(pathlib.Path(folder, f"{split}.jsonl.gz"), "rt") as lines:
        return [json.loads(line) for line in lines]


def write(folder: pathlib.Path, split: str, rows: Rows) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / f"{split}.jsonl").write_text("".join(lines))


def start_of(row: dict[str, Any]) -> str:
    """The beginning of a review, whatever its punctuation."""
    return "".join(each for each in row["text"].lower() if each.isalnum())[:START]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("snli", "imdb", "edited", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    drawn, out = random.Random(0), pathlib.Path(options.out)
    for split, count in SNLI.items():
        rows = read(options.snli, split)
        drawn.shuffle(rows)
        write(out / "snli", split, rows[:count])
    edited = read(options.edited, "test")
    seen = set(map(start_of, edited))
    rows = read(options.imdb, "train")
    drawn.shuffle(rows)
    rows = [row for row in rows if start_of(row) not in seen]
    write(out / "imdb", "train", rows[: IMDB["train"]])
    write(out / "imdb", "validation", rows[IMDB["train"] :][: IMDB["validation"]])
    drawn.shuffle(edited)
    edited = [{**row, "label": LABELS[row["label"]]} for row in edited[: IMDB["test"]]]
    write(out / "imdb", "test", edited)


if __name__ == "__main__":
    main()
