"""LaTeX tables: text that stays text, in the column of an article, and they compile."""

import re
import shutil
import subprocess

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from test_tables import ESTIMATES, HOSTILE, TABLE

from attnjax.report import latex as module
from attnjax.report.latex import GAP, WIDTH, as_latex, latex, width_of
from attnjax.report.tables import Estimate, Table

LONG = "a class name of forty characters, no 17"
WORD = "method_" * 12


def wide_table(rows=3, columns=9):
    """Two columns of text, of which the first repeats itself, and more numbers than fit."""
    numbers = {f"number {k} of many": Estimate(0.5 + k, [0.25, 0.75], 0.1) for k in range(columns)}
    found = [
        {"between": f"attention ~ {WORD}", "class": f"{LONG} {k}", "failed": k == 1, **numbers}
        for k in range(rows)
    ]
    names = ("between", "class", "failed", *numbers, "empty")
    return Table("wide", "A wide table.", names, [{**row, "empty": None} for row in found])


def cells_of(text):
    """The cells of every row between the rules of every tabular, headings left out."""
    bodies = re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.S)
    lines = [line for body in bodies for line in body.strip().splitlines()]
    return [
        re.split(r" (?<!\\)& ", line.removesuffix(r" \\"))
        for line in lines
        if not line.startswith(r"\multicolumn")
    ]


def test_latex_has_no_bare_command_in_text():
    text = latex(HOSTILE)
    stripped = re.sub(r"\\(textbackslash|text\w+)\{\}|\$\\sim\$", "", text)
    stripped = re.sub(r"\\[%$&{}#_]", "", stripped).replace("{[}", "").replace("{]}", "")
    stripped = stripped.replace("{*}", "")
    assert not set(stripped) & set("\\%$&{}#_^~<>|[]*")
    assert latex("two\nlines") == "two lines"
    assert latex("attention~my_method") == r"attention$\sim$my\_method"


def test_rows_have_as_many_cells_as_columns():
    text = as_latex(TABLE)
    assert [len(row) for row in cells_of(text)] == [4, 4, 4]
    assert re.search(r"\\begin\{tabular\}\{>\{\\raggedright\\arraybackslash\}p\{\d+pt\}rrr\}", text)
    assert r"\caption{A \& B\_1}" in text


def test_marked_rows_are_bold():
    assert cells_of(as_latex(ESTIMATES)) == [
        [
            r"\textbf{50 \%}",
            r"\textbf{$-$0.500 $\pm$ 0.100 {[}$-$0.750 \ldots{} 0.250{]}}",
            r"\textbf{1,234}",
        ],
        ["b", "--", "--"],
    ]


def test_what_does_not_fit_goes_to_another_table_that_begins_with_the_same_text():
    table = wide_table()
    text = as_latex(table)
    heads = re.findall(r"\\toprule\n(.*?) \\\\\n", text)
    assert len(heads) > 1
    assert all(head.startswith("class & ") for head in heads)
    assert "empty" not in text
    plain = " ".join(re.sub(r"\\shortstack\[r\]|[{}]|\\\\", " ", " ".join(heads)).split())
    assert [plain.count(name) for name in table.columns[3:-1]] == [1] * 9
    assert f"(1 of {len(heads)})." in text
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels[:2] == ["tab:wide", "tab:wide-2"]
    assert len(set(labels)) == len(heads)
    assert text.count(r"\multicolumn") == len(heads), "one heading over the rows of each"
    assert "yes" in text
    assert "True" not in text


def test_no_table_is_longer_than_a_page():
    text = as_latex(wide_table(rows=95, columns=1))
    assert [len(cells_of(each)) for each in text.split(r"\begin{table}")[1:]] == [40, 40, 15]


def natural(text):
    """Points in Computer Modern, 8 points, by matplotlib's copy of the font."""
    font = FontProperties(family="cmr10", size=8 * 1.0625)  # 8 points are cut wider than 10
    known = text.translate(str.maketrans({"–": "--", "−": "-", "…": "...", "±": "+", "∼": "+"}))
    return text_to_path.get_text_width_height_descent(known, font, ismath=False)[0]


@pytest.mark.parametrize("text", ["0.384 … 0.393", "leave one out", "Jensen-Shannon", "MAXIMUM"])
def test_estimated_widths_are_no_smaller_than_the_fonts(text):
    assert natural(text) <= width_of(text) <= 1.6 * natural(text)


def unescaped(cell):
    for sign, command in sorted(module.LATEX.items(), key=lambda each: -len(each[1])):
        cell = cell.replace(command, sign)
    return re.sub(r"\\\w+(?=\{)|[{}]", "", cell)


def widths(text):
    """The width of every tabular: its broken columns, and the widest cell of each other one."""
    found = []
    for part in text.split(r"\begin{table}")[1:]:
        align = re.search(r"\\begin\{tabular\}\{(.*)\}\n", part).group(1)
        columns = re.findall(r"p\{(\d+)pt\}|([lr])(?![a-z])", re.sub(r">\{.*?\}(?=p)", "", align))
        rows = cells_of(part)
        total = 0.0
        for place, (broken, _) in enumerate(columns):
            total += float(broken) if broken else max(natural(unescaped(r[place])) for r in rows)
        found.append(total + GAP * len(columns))
    return found


def test_every_table_of_a_run_fits_an_article(reported):
    paths = sorted((reported[0] / "tables").glob("*.tex"))
    assert len(paths) > 5
    for path in paths:
        assert max(widths(path.read_text())) <= WIDTH, path.name
    assert max(widths(as_latex(wide_table()))) <= WIDTH


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_they_compile_and_none_is_too_wide(reported, tmp_path):
    texts = [path.read_text() for path in sorted((reported[0] / "tables").glob("*.tex"))]
    texts += [as_latex(each) for each in (wide_table(95), TABLE, ESTIMATES)]
    start = "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{array,booktabs}"
    body = "\\clearpage\n".join(texts)
    (tmp_path / "t.tex").write_text(f"{start}\n\\begin{{document}}\n{body}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
    assert "Float too large" not in done.stdout


def test_what_pages_write_beyond_ascii_is_known_to_latex():
    """Arrows of replaced words among it: a compiler without them would stop there."""
    found = latex("[a → b] 2 × σ² ≤ ± − – … ε τ λ")
    assert found.isascii(), found
