"""Texts of the user's on their way to the model."""

import pytest

from attnjax.config import from_config_dict
from attnjax.runs import explained


@pytest.mark.parametrize(
    ("content", "place", "note"),
    [
        (b"id,TEXT\n1,fine\n", "standard input, line 2", "column 'TEXT' is read as 'text'"),
        (b'[{"Text": "fine"}]', "standard input, row 1", "column 'Text' is read as 'text'"),
        (b"fine\n", "standard input, line 1", "is read as a text a line"),
        (b'[\n{"text": "fine"}\n]', "standard input, row 1", "standard input is read as"),
    ],
)
def test_standard_input_is_called_so(monkeypatch, caplog, tmp_path, content, place, note):
    found = {}
    monkeypatch.setattr(
        explained, "explain_texts", lambda *given: found.update(examples=given[2], title=given[4])
    )
    config = from_config_dict(
        {"task": "classification", "data": {"source": "files", "path": str(tmp_path)}}
    )
    explained.explain_stream(config, str(tmp_path), content, None)
    assert [(each.text, each.place) for each in found["examples"]] == [("fine", place)]
    assert found["title"] == "standard input"
    assert note in caplog.text
    assert "standard input." not in caplog.text


@pytest.mark.parametrize("text", ["[Applause] a quiet film", "{sic} a film", "(a) film"])
def test_a_text_may_begin_with_a_bracket(monkeypatch, tmp_path, text):
    found = []
    monkeypatch.setattr(explained, "explain_texts", lambda *given: found.extend(given[2]))
    config = from_config_dict(
        {"task": "classification", "data": {"source": "files", "path": str(tmp_path)}}
    )
    explained.explain_stream(config, str(tmp_path), f"{text}\n".encode(), None)
    assert [each.text for each in found] == [text]
