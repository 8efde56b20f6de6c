"""Self-attention in the report: squares of layers and heads, and files that are none."""

import base64
import io
import re

import numpy as np
import pytest
from etils import epath
from fabricated import write_run
from matplotlib.image import imread

from attnjax.errors import UserError
from attnjax.report.examples import shown_ids
from attnjax.report.heads import draw_text, read_self_attention
from attnjax.report.write import write_report
from attnjax.workdir import write_arrays

FILE = "analysis/self_attention.npz"


def weights_of(size, layers=2, heads=3):
    return np.random.default_rng(0).dirichlet(np.ones(size), (layers, heads, size))


def test_each_layer_and_head_has_a_square_the_first_layer_below(tmp_path):
    weights = np.zeros((2, 3, 12, 12), np.float32)
    weights[0, 2, 1, 4] = 1.0  # of the first layer's last head
    name, svg, caption = draw_text(epath.Path(tmp_path), 17, weights)
    assert name == "heads_17"
    assert "example 17" in caption
    assert (tmp_path / "figures" / "heads_17.svg").read_text() == svg
    picture = re.search(r'href="data:image/png;base64,([^"]+)"', svg)
    assert picture is not None
    pixels = imread(io.BytesIO(base64.b64decode(picture.group(1))))
    assert pixels.shape[:2] == (2 * 12 + 1, 3 * 12 + 2), "one pixel a weight, one between squares"
    darkness = (1 - pixels[..., :3].mean(axis=-1)) * pixels[..., 3]
    found = np.unravel_index(darkness.argmax(), darkness.shape)
    assert found in ((13 + 1, 26 + 4), (24 - 14, 26 + 4)), "which way up the SVG says"


def test_examples_that_have_it_show_it(tmp_path):
    _, examples = write_run(tmp_path)
    shown = shown_ids(examples)
    sizes = {each["id"]: len(each["tokens"]) + 2 for each in examples}
    arrays = {str(number): weights_of(sizes[number]) for number in shown[1:3]}
    write_arrays(epath.Path(tmp_path) / FILE, arrays)
    write_report(epath.Path(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert page.count("<summary>Self-attention of every layer and head</summary>") == len(arrays)
    assert {each.name for each in (tmp_path / "figures").glob("heads_*.svg")} == {
        f"heads_{number}.svg" for number in arrays
    }
    assert f'<a href="{FILE}">' in page
    (tmp_path / FILE).unlink()
    write_report(epath.Path(tmp_path))
    assert not list((tmp_path / "figures").glob("heads_*"))
    assert "Self-attention of every" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"PK\x03\x04 no archive", "is damaged"),
        (b"", "is damaged"),
        ({"x": weights_of(3)}, "holds 'x', which is no self-attention"),
        ({"3": weights_of(3)[0]}, "holds '3', which is no self-attention"),
        ({"3": weights_of(3)[:, :, 1:]}, "holds '3', which is no self-attention"),
        ({"3": np.array([[[["a"]]]])}, "holds '3', which is no self-attention"),
        ({"3": np.array([[[[None]]]])}, "is damaged"),
    ],
)
def test_anything_else_in_its_place_is_told_in_one_line(tmp_path, content, complaint):
    path = tmp_path / FILE
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(UserError, match=complaint) as error:
        read_self_attention(epath.Path(tmp_path))
    assert "\n" not in str(error.value)


def test_no_file_is_no_self_attention(tmp_path):
    assert read_self_attention(epath.Path(tmp_path)) == {}
