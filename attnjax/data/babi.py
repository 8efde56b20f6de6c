"""A simulator of bAbI tasks 1, 2 and 3 (arXiv:1502.05698): nothing to download.

The rules below were read off the released English files, which they reproduce in distribution:
statements come in pairs; after each pair a question is asked as soon as one is possible whose
newest supporting fact on the person or object asked for is one of the last five statements.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnjax.data.examples import Example, Splits
from attnjax.data.rationales import place_words
from attnjax.data_config import DataConfig

PEOPLE = ("Mary", "John", "Daniel", "Sandra")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OBJECTS = ("apple", "football", "milk")
MOVE, GET, DROP = "move", "get", "drop"
VERBS = {
    MOVE: ("went to", "went back to", "journeyed to", "moved to", "travelled to"),
    GET: ("got", "grabbed", "picked up", "took"),
    DROP: ("discarded", "dropped", "left", "put down"),
}
# Share of statements that end in "there", by task: task 2 always says where a thing was taken.
THERE = {2: {GET: 1.0, DROP: 0.2}, 3: {GET: 0.2, DROP: 0.2}}
QUESTIONS_PER_STORY = 5
WINDOW = 5  # statements before the question, one of which must be about what is asked
TRAIN_QUESTIONS, TEST_QUESTIONS = 10_000, 1_000
SUPPORTING = "supporting"  # the data.fields.rationale of bAbI


class StoryQuestion(NamedTuple):
    """One question with everything that was said before it.

    supporting  places in `story` of the facts that the answer follows from, the answer's last
    group       the story; its questions share it
    """

    story: tuple[str, ...]
    question: str
    answer: str
    supporting: tuple[int, ...]
    group: str


class _Action(NamedTuple):
    person: str
    kind: str
    target: str  # a place for MOVE, else an object


def to_example(question: StoryQuestion, place: str = "", supporting: bool = False) -> Example:
    """Returns the question as the example that every other source gives, story sentences joined.

    supporting  the words of the supporting facts are its rationale
    """
    text = " ".join(question.story)
    facts = [sorted(set(question.supporting))]
    return Example(
        text=text,
        query=question.question,
        label=question.answer,
        group=question.group,
        place=place,
        rationale=place_words(facts, question.story, text, "story", place) if supporting else None,
    )


def read_babi(config: DataConfig) -> Splits:
    """Simulates task `config.name`: train (config.train_examples or 10,000 questions) and test.

    The same seed gives the same questions; a longer train split starts with the shorter one.
    """
    task = int(config.name)
    sizes = {
        "train": config.train_examples if config.train_examples > 0 else TRAIN_QUESTIONS,
        "test": TEST_QUESTIONS,
    }
    supporting = config.fields.rationale == SUPPORTING
    splits: Splits = {}
    for number, (split, size) in enumerate(sizes.items()):
        seed = np.random.SeedSequence([config.seed, task, number]).generate_state(1)[0]
        splits[split] = [
            to_example(each, f"simulated {split}, question {n}", supporting)
            for n, each in enumerate(simulate_questions(task, size, int(seed)), 1)
        ]
    return splits


def simulate(task: int, questions: int, seed: int) -> list[Example]:
    """Returns `questions` examples of task 1, 2 or 3, five to a story."""
    return [to_example(each) for each in simulate_questions(task, questions, seed)]


def simulate_questions(task: int, questions: int, seed: int) -> list[StoryQuestion]:
    """Returns `questions` questions of task 1, 2 or 3 with their supporting facts.

    1  Where is Mary?                           her last move
    2  Where is the milk?                       its last get or drop, and the move that placed it
    3  Where was the milk before the kitchen?   its last get or drop, the move there, the one before
    """
    rng = random.Random(seed)
    found: list[StoryQuestion] = []
    story = 0
    while len(found) < questions:
        found += _story(task, rng, str(story))
        story += 1
    return found[:questions]


def _story(task: int, rng: random.Random, group: str) -> list[StoryQuestion]:
    actions: list[_Action] = []
    sentences: list[str] = []
    questions: list[StoryQuestion] = []
    world = _act(task, rng)
    while len(questions) < QUESTIONS_PER_STORY:
        for action in (next(world), next(world)):
            actions.append(action)
            sentences.append(_sentence(task, action, rng))
        asked = _ASK[task](actions, rng)
        if asked is not None:
            question, supporting = asked
            # The last supporting fact is a move to the place that answers.
            answer = actions[supporting[-1]].target
            questions.append(StoryQuestion(tuple(sentences), question, answer, supporting, group))
    return questions


def _act(task: int, rng: random.Random) -> Iterator[_Action]:
    """Yields random valid actions in a world whose start nobody is told."""
    at = {person: rng.choice(PLACES) for person in PEOPLE}
    where = {thing: rng.choice(PLACES) for thing in OBJECTS}  # a place or the person who holds it
    kinds = (MOVE,) if task == 1 else (MOVE, GET, DROP)
    while True:
        person, kind = rng.choice(PEOPLE), rng.choice(kinds)
        if kind == MOVE:
            place = rng.choice(PLACES)
            if place != at[person]:
                at[person] = place
                yield _Action(person, kind, place)
            continue
        here = at[person] if kind == GET else person
        things = [thing for thing in OBJECTS if where[thing] == here]
        if things:
            thing = rng.choice(things)
            where[thing] = person if kind == GET else at[person]
            yield _Action(person, kind, thing)


def _sentence(task: int, action: _Action, rng: random.Random) -> str:
    verb = rng.choice(VERBS[action.kind])
    there = action.kind != MOVE and rng.random() < THERE[task][action.kind]
    return f"{action.person} {verb} the {action.target}{' there' if there else ''}."


_Asked = tuple[str, tuple[int, ...]] | None  # the question and its supporting facts


def _ask_person(actions: list[_Action], rng: random.Random) -> _Asked:
    # A statement is drawn, not a person: who moved twice lately is asked for twice as often.
    person = rng.choice(actions[-WINDOW:]).person
    return f"Where is {person}?", (_moves(actions, person, 0, len(actions))[-1],)


def _ask_object(actions: list[_Action], rng: random.Random) -> _Asked:
    choices = []
    for thing in _recent_objects(actions):
        fact = _last(actions, thing)
        person, kind, _ = actions[fact]
        # Held: where the holder went since. Dropped: where the person who dropped it was.
        span = (fact, len(actions)) if kind == GET else (0, fact)
        moves = _moves(actions, person, *span)
        if moves:
            choices.append((f"Where is the {thing}?", (fact, moves[-1])))
    return rng.choice(choices) if choices else None


def _ask_object_before(actions: list[_Action], rng: random.Random) -> _Asked:
    choices = []
    for thing in _recent_objects(actions):
        fact = _last(actions, thing)
        person, kind, _ = actions[fact]
        taken = fact if kind == GET else _last(actions, thing, GET)
        moves = _moves(actions, person, taken, len(actions) if kind == GET else fact)
        places = [actions[move].target for move in moves]
        # "Before the kitchen" means the last time there, and asks for one of the places between.
        visits = [_last_place(places, place) for place in places]
        if any(visits):
            choices.append((thing, fact, moves, [visit for visit in visits if visit]))
    if not choices:
        return None
    thing, fact, moves, visits = rng.choice(choices)
    visit = rng.choice(visits)
    place = actions[moves[visit]].target
    question = f"Where was the {thing} before the {place}?"
    return question, (fact, moves[visit], moves[visit - 1])


_ASK = {1: _ask_person, 2: _ask_object, 3: _ask_object_before}


def _recent_objects(actions: list[_Action]) -> list[str]:
    """Returns the object of every recent get or drop, once a statement."""
    return [action.target for action in actions[-WINDOW:] if action.kind != MOVE]


def _last(actions: list[_Action], thing: str, kind: str = "") -> int:
    """Returns the place of the last get or drop of `thing` (of that kind, if given)."""
    return max(
        n
        for n, action in enumerate(actions)
        if action.target == thing and kind in ("", action.kind)
    )


def _moves(actions: list[_Action], person: str, start: int, stop: int) -> list[int]:
    return [
        n for n in range(start, stop) if actions[n].person == person and actions[n].kind == MOVE
    ]


def _last_place(places: list[str], place: str) -> int:
    return len(places) - 1 - places[::-1].index(place)
