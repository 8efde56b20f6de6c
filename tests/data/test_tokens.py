import gzip
import itertools
import json

import pytest

from attnjax.data.tokens import tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A Good-looking film.", "a good - looking film ."),
        ("one<br /><br/>two <BR> three", "one two three"),
        ("``No,'' she said", '" no , " she said'),
        ("“No,” she said", '" no , " she said'),
        ("it’s", "it 's"),
        ("isn't can't won't", "is n't ca n't wo n't"),
        ("don't've they'll I'd", "do n't 've they 'll i 'd"),
        ("cannot gonna cannots", "can not gon na cannots"),
        ("dogs' O'Neil 'til", "dogs ' o ' neil ' til"),
        ("writer\\/director -LRB- x -RRB- 4.5\\/10", "writer / director ( x ) <num>"),
        (
            "In 1982, 1,000.50 of 7th-graders at 3:30.",
            "in <num> , <num> of <num> - graders at <num> .",
        ),
        ("mp3 b2b x_1", "<num> <num> x _ <num>"),
        ("@entity12's @placeholder and @entities", "@entity12 's @placeholder and @ entities"),
        ("well.... no… yes -- or — what", "well ... no ... yes -- or -- what"),
        ("<pad> <num>", "< pad > <num>"),
        ("Déjà vu, naïve", "déjà vu , naïve"),
        ("cafe\u0301 isn't", "caf\u00e9 is n't"),
        ("हिन्दी, अच्छी है", "हिन्दी , अच्छी है"),
        ("العَرَبِيَّة می\u200cخواهم", "العَرَبِيَّة می\u200cخواهم"),
        ("q\u0308n't q\u0308don't", "q\u0308 n't q\u0308do n't"),
        (" \t\n", ""),
        ("这部电影很好看。iPhone15 2023年", "这 部 电 影 很 好 看 。 <num> <num> 年"),
        ("この映画はテレビ", "こ の 映 画 は テ レ ビ"),
        ("หนังดีมาก", "ห นั ง ดี ม า ก"),
        ("ខ្ញុំស្រ", "ខ្ញុំ ស្រ"),
        ("ຮັກ မြန်မာ", "ຮັ ກ မြ န် မာ"),
        ("한국어는 좋다", "한국어는 좋다"),
        (
            "so\u00adft f\u200bree \ufeffx \u202eb\u202c a\u200db ctrl\x07\x00",
            "soft free x b ab ctrl",
        ),
        ("\u200b \ufeff \u200d\ufe0f \u00ad", ""),
        ("❤\ufe0f ❤ 👍🏽👍 🇫🇷🇩🇪", "❤ ❤ 👍🏽 👍 🇫🇷 🇩🇪"),
        ("👩\u200d👩\u200d👧😀 1\ufe0f\u20e3", "👩\u200d👩\u200d👧 😀 1\u20e3"),
    ],
)
def test_tokens_are(text, tokens):
    assert tokenize(text) == tokens.split()


@pytest.mark.parametrize(
    ("raw", "treebank"),
    [
        ("It isn't John's.", "It is n't John 's ."),
        ('He said "no" (twice).', "He said `` no '' -LRB- twice -RRB- ."),
        ("They can't; we've 1/2 left", "They ca n't ; we 've 1\\/2 left"),
        ("I cannot say, it's over...", "I can not say , it 's over ..."),
    ],
)
def test_raw_and_treebank_text_look_alike(raw, treebank):
    assert tokenize(raw) == tokenize(treebank)


def _texts(real_data, name, count):
    with gzip.open(real_data / name, "rt", encoding="utf-8") as lines:
        for line in itertools.islice(lines, count):
            row = json.loads(line)
            yield from (row[key] for key in ("text", "premise", "hypothesis") if key in row)


@pytest.mark.parametrize(
    "name",
    [
        "sst2/train.jsonl.gz",
        "snli/train.jsonl.gz",
        "snli/test.jsonl.gz",
        "imdb/test.jsonl.gz",
        "babi/en/qa3/test.jsonl.gz",
    ],
)
def test_tokenizing_again_changes_nothing(real_data, name):
    for text in _texts(real_data, name, 1500):
        tokens = tokenize(text)
        assert tokenize(" ".join(tokens)) == tokens


def test_nothing_but_white_space_and_line_breaks_is_lost():
    text = "a\u00a0b\u2028c\x85d ₤ ☃ \u0301 ²\U0001f600"
    assert tokenize(text) == ["a", "b", "c", "d", "₤", "☃", "\u0301", "²", "\U0001f600"]


def test_raw_train_and_tokenised_test_share_words(real_data):
    train = {
        word for text in _texts(real_data, "snli/train.jsonl.gz", 20000) for word in tokenize(text)
    }
    test = [
        word for text in _texts(real_data, "snli/test.jsonl.gz", 3000) for word in tokenize(text)
    ]
    unknown = sum(word not in train for word in test) / len(test)
    assert unknown < 0.0125  # 1.1 % are rare words; splitting at blanks alone gives 2.0 %


def test_a_word_that_comes_again_is_one_object():
    words = [word for text in ("It moves.", "it Moves well.") for word in tokenize(text)]
    assert len({id(word) for word in words}) == len(set(words)) == 4


def test_a_heap_of_marks_is_cut_to_what_scripts_have():
    one = tokenize("z" + "\u0301\u0327" * 50_000)  # to normalise them all takes minutes
    assert one == tokenize("z" + "\u0301\u0327" * 15)
    assert len(one) == 1
    assert tokenize("ca\u0327f\u00e9 vie\u0323\u0302t") == ["ca\u0327f\u00e9", "vi\u1ec7t"]
