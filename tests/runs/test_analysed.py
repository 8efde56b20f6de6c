"""What is wrong with the files that an analysis names is said before anything is trained."""

import pytest
from helpers import write_data

from attnjax.config import changed, from_config_dict
from attnjax.data.dataset import load_dataset
from attnjax.errors import UserError
from attnjax.runs.analysed import names_of


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nowhere 2", "none of the file's words is one that the model knows"),
        ("good 0", "the cost of 'good' must be above 0"),
        ("good", "write a word and a number"),
    ],
)
def test_costs_of_flips(content, message, tmp_path):
    data = {"source": "files", "path": str(write_data(tmp_path / "data", rows=8))}
    config = from_config_dict({"task": "classification", "data": data})
    dataset = load_dataset(config)
    (tmp_path / "costs.txt").write_text(content)
    config = changed(config, {"analysis.flip_costs": str(tmp_path / "costs.txt")})
    names_of(config, dataset)
    with pytest.raises(UserError, match=message):
        names_of(changed(config, {"analysis.questions": ("flips",)}), dataset)
