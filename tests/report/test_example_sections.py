"""The sections on flips and influence: texts with their changes, words that count, sentences."""

import pytest
from etils import epath

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Figures, Paragraph, Shown, Terms, Told
from attnjax.report.answers.flips import flips_table, texts_table
from attnjax.report.answers.influence import marked


def summary(mean):
    return {"mean": mean, "std": 0.1, "ci95": [mean - 0.05, mean + 0.05], "undefined": 0}


def kind(words, positions, **more):
    measured = {"words": words, "distance": 1.0, "cost": 1.0, "probability": 0.4, "smallest": 1.0}
    return measured | {"positions": positions} | more


def example(number, tokens, deletion, replacement):
    sizes = [each["words"] for each in (deletion, replacement) if each["words"]]
    overlap = {"attention": 1.0, "random": 0.2}
    flips = {"changed_words": min(sizes, default=None), "distance": 1.0, "overlap": overlap}
    return {
        "id": number,
        "tokens": tokens.split(),
        "query": None,
        "label": "1",
        "prediction": "0",
        "flips": flips | {"deletion": deletion, "replacement": replacement},
    }


def rows():
    long = " ".join(f"w{k}" for k in range(30))
    none = kind(None, [])
    return [
        example(3, "a dull film", kind(1, [1]), kind(1, [1], into=["fine"])),
        example(4, long, kind(2, [0, 20]), none),
        example(5, "a film", none, none),
    ]


def flips(examples=40):
    edit = {name: summary(1.5) for name in ("words", "distance", "cost", "probability")}
    edit |= {"flipped_fraction": 0.6, "smallest_fraction": 0.9}
    return {
        "examples": examples,
        "flips": {
            "most_words": 5,
            "costs": False,
            "flipped_fraction": 0.75,
            "changed_words": summary(1.25),
            "distance": summary(2.0),
            "radius": summary(0.5),
            "radius_fraction": 1.0,
            "prior": None,
            "by_edit": {"deletion": edit, "replacement": edit},
            "overlap": {
                "attention": summary(0.6),
                "gradient": summary(0.7),
                "random": summary(0.1),
            },
        },
    }


def text(number, effect, values):
    words = ["w", "good", "of", "but", "x"]
    return {"id": number, "label": "1", "text": words, "text_by_word": values, "effect": effect}


def influence(examples=40):
    suspect = {"self_influence": 0.3, "loss": 2.0, "probability": 0.135}
    return {
        "examples": examples,
        "influence": {
            **{"scope": "last layer", "training_examples": 900, "examples": examples},
            **{"parameters": 257, "damping": 0.01, "leverage": False, "gradient_norm": 0.02},
            **{"residual": 1e-12, "training_loss": 0.2, "self_influence": summary(0.01)},
            "check": {"removals": 20, "pearson": 0.97, "slope": 1.1},
            "planted": {"labels": 45, "self_influence": 0.98, "loss": 0.99},
            **{"helps": summary(0.02), "harms": summary(-0.03)},
            "suspects": [text(k, 0.1, [0.0] * 5) | suspect for k in range(12)],
        },
    }


def told(folder, analysis):
    examples = [each | {"influence": {"helpful": [], "harmful": []}} for each in rows()]
    helpful = [text(17, 0.02, [0.0, 0.3, 0.01, -0.2, 0.1])]
    examples[0]["influence"] = {"helpful": helpful, "harmful": [text(18, -0.03, [0.1, 0, 0, 0, 0])]}
    return Told(epath.Path(folder), {"analysis": analysis}, analysis, examples)


def test_a_text_is_shown_with_its_change():
    table = texts_table(rows())
    shown = {row["id"]: row for row in table.rows}
    assert list(shown) == ["3", "4"]
    assert shown["3"]["deletion"] == "a [dull] film"
    assert shown["3"]["replacement"] == "a [dull → fine] film"
    assert shown["4"]["replacement"] == "–"
    assert shown["4"]["deletion"].startswith("[w0] w1 w2 w3 w4 w5 w6 … w14")
    assert shown["4"]["deletion"].endswith("[w20] w21 w22 w23 w24 w25 w26 …")


def test_the_words_that_make_a_training_text_count_are_marked():
    assert marked(text(1, 0.02, [0.0, 0.3, 0.01, -0.2, 0.1])) == "w [good] of [−but] [x]"
    assert marked(text(1, -0.02, [0.0, 0.3, 0.01, -0.2, 0.1])) == "w [−good] of [but] [−x]"


def test_sections_and_sentences(tmp_path):
    given = told(tmp_path, flips())
    blocks = ANSWERS["flips"].blocks(given)
    assert len([each for each in blocks if isinstance(each, Figures)]) == 2
    assert (given.folder / "figures" / "flips.svg").exists()
    table = flips_table(given.analysis["flips"])
    assert table.columns == ("change", "flipped", "words", "distance", "proven smallest")
    assert table.rows[-1]["change"] == "any of the vectors"
    assert table.rows[-1]["distance"].mean == 0.5
    assert "near words" in blocks[0].text
    found = given.analysis["flips"] | {"prior": 2.0}
    found["by_edit"] = {**found["by_edit"]}
    found["by_edit"]["replacement"] = found["by_edit"]["replacement"] | {"nats": summary(1.0)}
    assert "nats" in flips_table(found).columns
    likely = ANSWERS["flips"].blocks(told(tmp_path, {**given.analysis, "flips": found}))
    assert "by at most 2.00 nats each" in likely[0].text
    assert ANSWERS["flips"].sentence(given) == (
        "Deleting or replacing at most 5 words flips the prediction of 75\u00a0% (59.8 to "
        "85.8\u00a0%) of 40 texts, by 1.25 (1.20 to 1.30) words on average; 0.60 (0.55 to 0.65) of "
        "these words are among as many of most attention, by chance 0.10."
    )
    given = told(tmp_path, influence())
    blocks = ANSWERS["influence"].blocks(given)
    tables = [each for each in blocks if isinstance(each, Shown)]
    (place,) = (
        k for k, each in enumerate(blocks) if _says(each, "Example 3, predicted 0, true 1: a")
    )
    assert blocks[place].text == "Example 3, predicted 0, true 1: a dull film"
    assert [row["training text"] for row in blocks[place + 1].table.rows][-1] == "18"
    assert len(tables[-1].table.rows) == 10
    assert ANSWERS["influence"].sentence(given) == (
        "Of the last layer alone, leaving out the most helpful training text changes the loss of "
        "an example by 0.02 (−0.03 to 0.07) nats on average, the most harmful by −0.03 (−0.08 to "
        "0.02); 20 removals, retrained, correlate by 0.97; of wrong labels that were planted, "
        "self-influence ranks 0.98 of the pairs right, the plain loss 0.99."
    )


def _says(block, start):
    return isinstance(block, Paragraph) and block.text.startswith(start)


def of_all(**more):
    analysis = influence()
    analysis["influence"] |= {"scope": "all parameters", "target": "attention", "iterations": 30}
    analysis["influence"] |= {"curvature_examples": 1000, "not_converged": 0} | more
    return analysis


def test_the_whole_model_is_told_as_such(tmp_path):
    given = told(tmp_path, of_all())
    given.examples[0]["influence"]["attended"] = 1
    blocks = ANSWERS["influence"].blocks(given)
    text, *examples = (each.text for each in blocks if isinstance(each, Paragraph))
    assert "matrix of 1,000 training texts, inverted by conjugate gradients" in text
    assert "has not come to its end" not in text
    (terms,) = (dict(each.terms) for each in blocks if isinstance(each, Terms))
    assert "puts attention on that word" in terms["effect"]
    assert "Example 3, predicted 0, true 1, most attended word 'dull': a dull film" in examples
    assert (
        ANSWERS["influence"]
        .sentence(given)
        .startswith(
            "Of all parameters, to first order, leaving out the most attracting training text "
            "changes -ln of an example's most attention by 0.02 (−0.03 to 0.07) nats on average"
        )
    )
    given = told(tmp_path, of_all(not_converged=2, damping_that_converges=0.2))
    text, *_ = (
        each.text for each in ANSWERS["influence"].blocks(given) if isinstance(each, Paragraph)
    )
    assert "not come to its end for 2 examples: look at the residual" in text
    assert "a damping of about 0.2." in text


def test_tracin_is_named_as_the_rival_it_is(tmp_path):
    given = told(tmp_path, of_all(scope="TracIn", target="loss", checkpoints=[8, 12]))
    blocks = ANSWERS["influence"].blocks(given)
    text, *_ = (each.text for each in blocks if isinstance(each, Paragraph))
    assert "the cheap rival of influence functions" in text
    assert "after the steps 8 and 12." in text
    (terms,) = (dict(each.terms) for each in blocks if isinstance(each, Terms))
    assert "its size is not" in terms["effect"]
    assert (
        ANSWERS["influence"]
        .sentence(given)
        .startswith(
            "By the gradients at 2 checkpoints (TracIn), the training text that lowers the loss of "
            "an example most has a product of 0.02"
        )
    )


@pytest.mark.parametrize("name", ["flips", "influence"])
def test_what_was_not_asked_is_left_out_and_few_bear_no_interval(name, tmp_path):
    nothing = Told(epath.Path(tmp_path), {}, {name: None, "examples": 3}, [])
    assert ANSWERS[name].blocks(nothing) == []
    assert ANSWERS[name].sentence(nothing) == ""
    few = {"flips": flips, "influence": influence}[name](4)
    assert "(−" not in ANSWERS[name].sentence(told(tmp_path, few))
    assert "too few for an interval" in ANSWERS[name].sentence(told(tmp_path, few))
