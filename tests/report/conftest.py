"""A fabricated run, written once for every test that only reads it."""

import pytest
from etils import epath
from fabricated import write_run

from attnjax.report.write import write_report


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """(folder, results, examples) of a pair task with every part and its written report."""
    folder = tmp_path_factory.mktemp("run")
    results, examples = write_run(folder, pair_task=True)
    write_report(epath.Path(folder))
    return folder, results, examples


@pytest.fixture(scope="session")
def page(reported):
    return (reported[0] / "report.html").read_text()
