import gzip
import json
import re

import pytest
from miniatures import (
    AG_NEWS,
    BABI,
    CNN,
    CNN_QUESTION,
    IMDB,
    MULTINLI,
    NEWSGROUPS,
    POST,
    RELEASES,
    SNLI,
    TREES,
    pairs,
    read_files,
    write,
)
from sklearn.datasets import _twenty_newsgroups as scikit

from attnjax.data.babi import simulate_questions
from attnjax.data.examples import Example
from attnjax.data.releases import LAYOUTS, read_release, recognise
from attnjax.data.releases.news import strip_post
from attnjax.data.releases.reading import read_questions
from attnjax.data.splits import cut
from attnjax.data_config import DataConfig, FieldsConfig
from attnjax.errors import UserError


def read(tmp_path, release, task=None, /, **config):
    files, _, its_task = RELEASES[release]
    return read_files(DataConfig(path=write(tmp_path, files), **config), task or its_task)


def test_every_layout_is_tested():
    assert RELEASES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", RELEASES)
@pytest.mark.parametrize("parent", [False, True])
def test_releases_are_recognised_as_unpacked_and_from_their_parent(tmp_path, name, parent):
    files, folder, task = RELEASES[name]
    write(tmp_path / folder, files)
    path = tmp_path if parent else tmp_path / folder
    assert recognise(path) == name
    assert read_release(DataConfig(path=str(path)), task).keys() >= {"train", "test"}


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_of_another_task_is_refused(tmp_path, name):
    task = RELEASES[name][2]
    other = "nli" if task != "nli" else "qa"
    with pytest.raises(UserError, match=rf"a {task} data set, but task='{other}'"):
        read(tmp_path, name, other)


def test_nothing_is_recognised_in_an_empty_folder(tmp_path):
    assert recognise(tmp_path) is None
    with pytest.raises(UserError, match=r"none of the known releases .AG News"):
        read_release(DataConfig(path=str(tmp_path)), "nli")


def test_text_files_that_are_no_trees_are_not_sst(tmp_path):
    write(tmp_path, {"train.txt": "(a note)\n", "dev.txt": "x", "test.txt": "x"})
    assert recognise(tmp_path) is None
    write(tmp_path, {"train.txt": b"\xff\xfe\0"})
    assert recognise(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        "text,label,more\nx,1,z\n",
        "1,a\n2,b\n",
        "1,a,b\n5,a,b\n",
        '1,a,"b\n',
        "",
    ],
)
def test_own_csv_files_are_not_ag_news(tmp_path, content):
    write(tmp_path, {"train.csv": content, "test.csv": content})
    assert recognise(tmp_path) is None


def test_own_files_beside_a_release_are_read_first(tmp_path):
    write(tmp_path, TREES)
    row = '{"text": "own", "label": "x"}\n'
    config = DataConfig(path=write(tmp_path, {"train.jsonl": row, "test.jsonl": row}))
    assert read_files(config, "classification")["train"][0].text == "own"


def test_sst_is_binary_without_neutral_sentences(tmp_path):
    splits = read(tmp_path, "sst")
    assert splits["train"] == [
        Example("It 's lovely .", None, "1", place="train.txt, line 1"),
        Example("bad -LRB-", None, "0", place="train.txt, line 3"),
        Example("co-writer\\/director sad", None, "0", place="train.txt, line 4"),
    ]
    assert [row.label for row in splits["validation"] + splits["test"]] == ["1", "0"]


def test_sst5_has_five_classes(tmp_path):
    config = DataConfig(path=write(tmp_path, TREES), name="sst5")
    splits = read_release(config, "classification")
    assert [row.label for row in splits["train"]] == ["3", "2", "0", "1"]


def test_the_leaves_on_the_sentences_side_are_its_rationale(tmp_path):
    fields = FieldsConfig(rationale="leaves")
    config = DataConfig(path=write(tmp_path, TREES), name="sst5", fields=fields)
    splits = read_release(config, "classification")
    assert [row.rationale for row in splits["train"]] == [((2,),), ((),), ((0,),), ((5,),)]
    assert [row.rationale for row in splits["test"]] == [((),), ((),)]


def test_sst_as_trees_is_sst_as_lines(real_data, tmp_path):
    """Every real sentence as a tree of the official form, read back."""
    rows, files = {}, {}
    names = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    for split, name in names.items():
        with gzip.open(real_data / f"sst2/{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows[split] = [json.loads(line) for line in lines]
        trees = []
        for row in rows[split]:
            words = row["text"].replace("(", "-LRB-").replace(")", "-RRB-").split()
            tree = f"(2 {words[-1]})"
            for word in reversed(words[:-1]):
                tree = f"(2 (2 {word}) {tree})"
            trees.append(f"({3 if row['label'] else 1}{tree[2:]}\n")
        files[name] = "".join(trees)
    splits = read_files(DataConfig(path=write(tmp_path, files)), "classification")
    for split, expected in rows.items():
        assert [row.label for row in splits[split]] == [str(row["label"]) for row in expected]
        texts = [row.text.replace("-LRB-", "(").replace("-RRB-", ")") for row in splits[split]]
        assert texts == [row["text"] for row in expected]


@pytest.mark.parametrize("line", ["(3 (2 cut", "plain text", "(3 )", "(7 (2 a) (2 b))"])
def test_damaged_trees(tmp_path, line):
    path = write(tmp_path, {**TREES, "dev.txt": f"\n{line}\n"})
    with pytest.raises(UserError, match=r"dev\.txt, line 2: not a whole bracketed tree"):
        read_release(DataConfig(path=path), "classification")


def test_imdb(tmp_path):
    splits = read(tmp_path, "imdb")
    assert splits["train"] == [
        Example("Bad caf\u00e9.", None, "neg", place="train/neg/0_1.txt"),
        Example("Good.", None, "pos", place="train/pos/9_10.txt"),
        Example("Great.<br /><br />Really.", None, "pos", place="train/pos/10_9.txt"),
    ]
    assert [row.text for row in splits["test"]] == ["Awful.", "Fine."]
    assert splits["unlabelled"] == [Example("Unknown.", None, "", place="train/unsup/0_0.txt")]


def test_imdb_with_wanted_labels_keeps_the_unlabelled(tmp_path):
    splits = read(tmp_path, "imdb", labels=("pos",))
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 2,
        "test": 1,
        "unlabelled": 1,
    }


def test_a_binary_review_is_named(tmp_path):
    with pytest.raises(UserError, match=r"test/pos/0_8\.txt, line 1: not UTF-8"):
        read_files(
            DataConfig(path=write(tmp_path, {**IMDB, "test/pos/0_8.txt": b"\xff"})),
            "classification",
        )


def test_newsgroups_of_wanted_groups(tmp_path):
    labels = ("rec.sport.hockey", "rec.sport.baseball")
    splits = read(tmp_path, "newsgroups", labels=labels)
    assert [row.label for row in splits["train"]] == ["rec.sport.baseball", "rec.sport.hockey"]
    baseball, hockey = splits["train"]
    assert baseball.text == "Runs.\n\nMore.\n"
    assert hockey.text.split() == ["He", "is,", "I", "wrote", "nothing", "else.", "Really", "café."]
    assert hockey.place == "20news-bydate-train/rec.sport.hockey/52550"
    assert len(splits["test"]) == 2
    assert len(read(tmp_path, "newsgroups")["train"]) == 3
    with pytest.raises(UserError, match=r"no group 'rec.sport.hokey'; did you mean 'rec.sport.ho"):
        read(tmp_path, "newsgroups", labels=("rec.sport.hokey",))


@pytest.mark.parametrize(
    "post",
    [
        POST,
        "no header at all",
        "Subject: x\n\n\n\n",
        "Subject: x\n\none paragraph\nof two lines\n",
        "Subject: x\n\n---\nonly a signature\n",
        "Subject: x\n\ntext\n ---- \nname\n\n\n",
        "Subject: x\n\n\nleading blank\n",
        "Subject: x\n\nhe writes in vain\n>quote\n\nbody\n\n> last\n",
    ],
)
def test_posts_are_stripped_as_scikit_learn_does(post):
    header = scikit.strip_newsgroup_header(post)
    footer = scikit.strip_newsgroup_footer(header)
    assert strip_post(post) == scikit.strip_newsgroup_quoting(footer)


def test_ag_news(tmp_path):
    splits = read(tmp_path, "ag_news")
    assert splits["train"][0] == Example(
        'Wall St. Bears Claw Back Reuters - Short-sellers, dwindling band of "cynics".',
        None,
        "Business",
        place="train.csv, line 1",
    )
    assert [row.label for row in splits["train"]] == ["Business", "Sports", "World", "Sci/Tech"]
    assert splits["test"][0].text == "Fears, again Unions say."


def test_damaged_ag_news(tmp_path):
    write(tmp_path, {**AG_NEWS, "test.csv": '"4","a","b"\n"5","a","b"\n'})
    with pytest.raises(UserError, match=r"test\.csv, line 2: AG News has a class from 1 to 4"):
        read_files(DataConfig(path=str(tmp_path)), "classification")


def test_babi(tmp_path):
    splits = read(tmp_path, "babi", name="1")
    name = "qa1_single-supporting-fact_train.txt"
    story = "Mary moved to the bathroom. John went to the hallway."
    first, second, third = splits["train"]
    assert first == Example(
        story, "Where is Mary?", "bathroom", group=f"{name}:1", place=f"{name}, line 3"
    )
    assert second.text == story + " Daniel went back to the hallway."
    assert (second.group, third.group) == (f"{name}:1", f"{name}:2")
    assert third.text == "John went to the garden."
    questions = [question for _, question in read_questions(tmp_path / name)]
    assert [question.supporting for question in questions] == [(0,), (2,), (0,)]


def test_babi_tasks_are_picked_by_name(tmp_path):
    assert read(tmp_path, "babi", name="qa2")["train"][0].text == "B. C."
    with pytest.raises(UserError, match=r"no bAbI task '3'; .*known: 1, 2"):
        read(tmp_path, "babi", name="3")
    only = {name: text for name, text in BABI.items() if name.startswith("qa2")}
    only["qa2_valid.txt"] = only["qa2_two-supporting-facts_test.txt"]
    path = write(tmp_path / "only", only)
    assert len(read_files(DataConfig(path=path), "qa")["validation"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mary left.\n", "line 1: neither a numbered statement"),
        ("9" * 5000 + " Mary left.\n", "line 1: neither a numbered statement"),
        ("1 A.\n2 Who?\tA\n", "line 2: neither"),
        ("1 A.\n2 Who?\tA\t2\n", "line 2: supporting lines '2'"),
        ("1 A.\n2 Who?\tA\tx\n", "line 2: supporting lines 'x'"),
        ("1 A.\n2 Who?\t \t1\n", "line 2: the question has no answer"),
        ("", "has no stories"),
    ],
)
def test_damaged_babi(tmp_path, text, message):
    files = {**BABI, "qa1_single-supporting-fact_test.txt": text}
    with pytest.raises(UserError, match=message):
        read_files(DataConfig(path=write(tmp_path, files)), "qa")


def official_babi(questions):
    """The official file: lines numbered within a story, questions included."""
    lines, written, before = [], 0, None
    for question in questions:
        if question.group != before:
            positions, number, written, before = {}, 0, 0, question.group
        for place in range(written, len(question.story)):
            number += 1
            positions[place] = number
            lines.append(f"{number} {question.story[place]}")
        written = len(question.story)
        number += 1
        facts = " ".join(str(positions[place]) for place in question.supporting)
        lines.append(f"{number} {question.question} \t{question.answer}\t{facts}")
    return "\n".join(lines) + "\n"


def test_babi_files_written_officially_are_read_back(tmp_path):
    for task in (1, 2, 3):
        questions = simulate_questions(task, 100, seed=0)
        path = tmp_path / f"qa{task}_train.txt"
        path.write_text(official_babi(questions))
        read_back = [question for _, question in read_questions(path)]
        assert [q._replace(group="") for q in read_back] == [
            q._replace(group="") for q in questions
        ]
        groups = [q.group for q in read_back]
        assert len(set(groups)) == 20
        assert sorted(groups.count(group) for group in set(groups)) == [5] * 20


def test_real_babi_is_the_same_in_its_official_form(real_data, tmp_path):
    folder = real_data / "babi/en/qa2"
    own = read_files(DataConfig(path=str(folder)), "qa")
    with gzip.open(folder / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    questions = [
        simulate_questions(1, 1, 0)[0]._replace(
            story=tuple(row["story"]),
            question=row["question"],
            answer=row["answer"],
            supporting=tuple(row["supporting"]),
            group=example.group,
        )
        for row, example in zip(rows, own["train"], strict=True)
    ]
    files = {"qa2_train.txt": official_babi(questions), "qa2_test.txt": "1 A.\n2 B?\toffice\t1\n"}
    official = read_files(DataConfig(path=write(tmp_path, files)), "qa")["train"]
    numbers = {group: n for n, group in enumerate(dict.fromkeys(row.group for row in own["train"]))}
    for one, other in zip(own["train"], official, strict=True):
        assert one._replace(group="", place="") == other._replace(group="", place="")
        assert other.group == f"qa2_train.txt:{numbers[one.group] + 1}"


def test_cnn(tmp_path):
    splits = read(tmp_path, "cnn")
    assert splits["train"] == [
        Example(
            "( @entity1 ) @entity3 won in @entity10 . @entity3 is glad .",
            "@placeholder won the race",
            "@entity3",
            ("@entity3", "@entity1", "@entity10"),
            "http://web.archive.org/web/2015/http://edition.cnn.com/a",
            "training/0a.question",
        )
    ]
    assert splits["validation"][0].place == "validation/1b.question"
    assert splits["test"][0].candidates == splits["train"][0].candidates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CNN_QUESTION.replace("@placeholder", "Who"), "not an address"),
        (CNN_QUESTION[:150], "not an address"),
        (CNN_QUESTION.replace("\n\n@entity3\n\n", "\n\n@entity4\n\n"), "answer '@entity4'"),
    ],
)
def test_damaged_cnn(tmp_path, text, message):
    files = {**CNN, "questions/test/2c.question": text}
    with pytest.raises(UserError, match=rf"test/2c.question: .*{message}"):
        read_files(DataConfig(path=write(tmp_path, files)), "qa")


def test_snli(tmp_path):
    splits = read(tmp_path, "snli")
    assert [row.label for row in splits["train"]] == ["neutral", "entailment", "contradiction"]
    assert splits["train"][1][:3] == ("Premise 2.", "Hypothesis 2.", "entailment")
    assert splits["train"][1].place == "snli_1.0_train.jsonl, line 3"
    assert len(splits["validation"]) == len(splits["test"]) == 1


def test_multinli_is_tested_on_both_dev_sets(tmp_path):
    splits = read(tmp_path, "multinli")
    assert [row.place for row in splits["test"]] == [
        "multinli_1.0_dev_matched.jsonl, line 1",
        "multinli_1.0_dev_mismatched.jsonl, line 1",
    ]
    assert "validation" not in splits
    splits = cut(splits, "validation", 0.2, seed=0)
    groups = [{row.group for row in splits[name]} for name in ("train", "validation")]
    assert len(splits["validation"]) == 12
    assert not groups[0] & groups[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [('{"sentence1": "a"}', "line 1: sentence1, sentence2"), (pairs("-"), "no labelled pairs")],
)
def test_damaged_pairs(tmp_path, row, message):
    files = {**SNLI, "snli_1.0_dev.jsonl": row}
    with pytest.raises(UserError, match=rf"snli_1.0_dev.jsonl.*{message}"):
        read_files(DataConfig(path=write(tmp_path, files)), "nli")


@pytest.mark.parametrize("inner", ["", "below/"])
@pytest.mark.parametrize(
    ("title", "files"),
    [("SNLI", SNLI), ("MultiNLI", MULTINLI), ("20 Newsgroups (by date)", NEWSGROUPS)],
)
def test_what_a_release_lacks_is_named(tmp_path, title, files, inner):
    last = list(files)[-1].split("/")[0]
    kept = {f"{inner}{name}": text for name, text in files.items() if not name.startswith(last)}
    message = f"has a part of {re.escape(title)} and lacks {last}; put that there as well"
    with pytest.raises(UserError, match=message):
        read_files(DataConfig(path=write(tmp_path, kept)), "nli")


def test_somebody_elses_classes_pos_and_neg_are_no_imdb(tmp_path):
    path = write(tmp_path, {**IMDB, "train/pos/mine.txt": "My own."})
    assert recognise(path) is None
    found = read_files(DataConfig(path=path), "classification")
    assert "My own." in [each.text for each in found["train"]]
    assert {each.label for each in found["train"]} == {"pos", "neg", "unsup"}
