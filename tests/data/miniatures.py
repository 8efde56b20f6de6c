"""Miniature releases, written as the official archives write theirs."""

import json

from attnjax.data import files


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(folder)


TREES = {
    "train.txt": (
        "(3 (2 It) (4 (4 (2 's) (4 lovely)) (2 .)))\n"
        "(2 (2 A) (2 film))\n"
        "(0 (1 bad) (2 -LRB-))\n"
        "(1 (2 co-writer\\/director) (1 sad))\n"
    ),
    "dev.txt": "(4 (2 Great) (2 !))\n",
    "test.txt": "(1 (2 Not) (3 good))\n(2 (2 So) (2 so))\n",
}
IMDB = {
    "train/pos/10_9.txt": "Great.<br /><br />Really.",
    "train/pos/9_10.txt": "Good.",
    "train/neg/0_1.txt": "Bad caf\u00e9.",
    "train/unsup/0_0.txt": "Unknown.",
    "train/labeledBow.feat": "9 0:9",
    "test/pos/0_8.txt": "Fine.",
    "test/neg/0_3.txt": "Awful.",
}
POST = """From: a@b.edu (A Fan)
Subject: Re: Goalies
Organization: Uni

In article <1@x> c@d.edu writes:
> Who is best?
>> Not me.

He is, I wrote nothing else.
| quoted too

The end, says: nobody.
Really caf\u00e9.

--
A Fan, a@b.edu
"""
NEWSGROUPS = {
    "20news-bydate-train/rec.sport.hockey/52550": POST.encode("latin-1"),
    "20news-bydate-train/rec.sport.baseball/100": "Subject: x\n\nRuns.\n\nMore.\n\n\nBye\n",
    "20news-bydate-train/sci.med/5": "Subject: y\n\nHealth.\n",
    "20news-bydate-test/rec.sport.hockey/9": "Subject: z\n\nPucks.\n",
    "20news-bydate-test/rec.sport.baseball/8": "Subject: z\n\nBats.\n",
    "20news-bydate-test/sci.med/7": "Subject: z\n\nPills.\n",
}
AG_NEWS = {
    "train.csv": (
        '"3","Wall St. Bears Claw Back","Reuters - Short-sellers, dwindling\\band of ""cynics""."\n'
        '"2","A title","Won."\n"1","b","c"\n"4","d","e"\n'
    ),
    "test.csv": '"4","Fears, again","Unions say."\n',
    "classes.txt": "World\nSports\nBusiness\nSci/Tech\n",
}
BABI = {
    "qa1_single-supporting-fact_train.txt": (
        "1 Mary moved to the bathroom.\n"
        "2 John went to the hallway.\n"
        "3 Where is Mary? \tbathroom\t1\n"
        "4 Daniel went back to the hallway.\n"
        "5 Where is Daniel? \thallway\t4\n"
        "1 John went to the garden.\n"
        "2 Where is John? \tgarden\t1\n"
    ),
    "qa1_single-supporting-fact_test.txt": "1 A is.\n2 Where is A? \tgarden\t1\n",
    "qa2_two-supporting-facts_train.txt": "1 B.\n2 C.\n3 Where? \tkitchen\t2 1\n",
    "qa2_two-supporting-facts_test.txt": "1 B.\n2 C.\n3 Where? \tkitchen\t2 1\n",
}
CNN_QUESTION = """http://web.archive.org/web/2015/http://edition.cnn.com/a

( @entity1 ) @entity3 won in @entity10 . @entity3 is glad .

@placeholder won the race

@entity3

@entity3:Jane Doe
@entity1:CNN
@entity10:Rome: the city"""
CNN = {
    "questions/training/0a.question": CNN_QUESTION,
    "questions/validation/1b.question": CNN_QUESTION,
    "questions/test/2c.question": CNN_QUESTION + "\n",
}


def pairs(*labels):
    return "".join(
        json.dumps(
            {
                "gold_label": label,
                "sentence1": f"Premise {n}.",
                "sentence2": f"Hypothesis {n}.",
                "sentence1_parse": "(ROOT)",
                "promptID": f"p{n // 3}",
            }
        )
        + "\n"
        for n, label in enumerate(labels)
    )


SNLI = {
    "snli_1.0_train.jsonl": pairs("neutral", "-", "entailment", "contradiction"),
    "snli_1.0_dev.jsonl": pairs("neutral"),
    "snli_1.0_test.jsonl": pairs("-", "entailment"),
}
MULTINLI = {
    "multinli_1.0_train.jsonl": pairs(*["neutral", "entailment", "contradiction"] * 20),
    "multinli_1.0_dev_matched.jsonl": pairs("neutral", "-"),
    "multinli_1.0_dev_mismatched.jsonl": pairs("entailment"),
}
# name -> files, the folder that the archive makes, task
RELEASES = {
    "sst": (TREES, "trees", "classification"),
    "imdb": (IMDB, "aclImdb", "classification"),
    "newsgroups": (NEWSGROUPS, "20news-bydate", "classification"),
    "ag_news": (AG_NEWS, "ag_news_csv", "classification"),
    "babi": (BABI, "", "qa"),
    "cnn": (CNN, "cnn", "qa"),
    "snli": (SNLI, "snli_1.0", "nli"),
    "multinli": (MULTINLI, "multinli_1.0", "nli"),
}


def read_files(config, task):
    """The splits alone: what else `Reading` tells has tests of its own."""
    return files.read_files(config, task).splits
