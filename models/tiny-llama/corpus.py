#!/usr/bin/env python3
"""The text that tiny-llama learns: questions and short answers, all made by this file.

Nothing is read from outside.  There are two kinds of questions:

* facts about a made-up world (places, people), which the model has to remember;
* small tasks (sums, word order, units, opposites, robot orders), which the model has to work out.

Every task has two sets of question templates: one to train on and one that is held out.  The answer to
a question is always the same sentence, so an answer is either right or wrong, and a machine can tell.
`key` is the part of the answer that has to be there for the answer to be right.

usage: corpus.py --prompts FILE [--count 320]     writes the held-out prompt file (JSON lines)
       corpus.py --show 20                        prints examples
"""
import argparse
import json
import os
import random
from typing import NamedTuple

WORLD_SEED = 20  # the made-up world is part of the recipe: another seed gives other facts

COLOURS = "red blue green white black yellow brown silver".split()
NOUNS = ("lamp tree stone boat apple chair river cloud bridge clock spoon basket mirror ladder garden "
         "window pencil blanket bottle carpet drum feather hammer island jacket kettle leaf mountain needle "
         "orange pocket ribbon saddle table wagon").split()
ANIMALS = ("fox owl goat otter heron beaver hare mole raven stork badger lizard turtle moose crane marten "
           "newt lynx pony toad").split()
TOWN_KINDS = "quiet busy windy sunny small bright foggy lively".split()
FOODS = "soup dumpling pie stew cake salad".split()
INGREDIENTS = "carrots nuts beans plums onions mushrooms honey barley leeks pears".split()
HABITATS = ["in the hills", "near the coast", "in the deep forest", "on the wide plain", "by the lakes"]
SIGNS = "star wheel tower leaf wave key crown bell".split()
JOBS = ("baker miller painter gardener teacher carpenter sailor weaver doctor farmer printer potter tailor "
        "mason cook smith").split()
HOBBIES = ["climb rocks", "draw maps", "sing songs", "repair clocks", "grow roses", "read poems",
           "swim in the lake", "bake small cakes"]
INSTRUMENTS = "flute fiddle trumpet harp drum guitar piano horn".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
OPPOSITES = [("hot", "cold"), ("big", "small"), ("fast", "slow"), ("light", "dark"), ("early", "late"),
             ("full", "empty"), ("high", "low"), ("hard", "soft"), ("near", "far"), ("new", "old"),
             ("open", "closed"), ("rich", "poor"), ("strong", "weak"), ("sweet", "sour"), ("thick", "thin"),
             ("wet", "dry"), ("wide", "narrow"), ("young", "aged"), ("loud", "quiet"), ("clean", "dirty")]
UNITS = [("hours", "minutes", 60), ("weeks", "days", 7), ("metres", "centimetres", 100),
         ("dozens", "pieces", 12), ("kilograms", "grams", 1000), ("minutes", "seconds", 60),
         ("years", "months", 12), ("days", "hours", 24)]
DIRECTIONS = "north south east west".split()
GREETINGS = ["", "", "", "Please, ", "Hello. ", "Now, please: "]
NUMBER_WORDS = "zero one two three four five six seven eight nine".split()


class Example(NamedTuple):
    """One question with its only right answer."""
    task: str
    question: str
    answer: str
    key: str


def _make_names(rng, count, endings, taken):
    """Names from syllables: each first syllable once per list, and no name twice in the world."""
    starts = ("Zor Mib Tel Krav Vun Pel Drom Glin Snov Wex Yar Flim Brul Hul Jop Nim Quar Rud Lut Osk Trem Bav "
              "Dolf Gam Kesh Pron Sild Varn").split()
    rng.shuffle(starts)
    names = []
    while len(names) < count:
        name = starts[len(names)] + rng.choice("aeiou") + rng.choice(endings)
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def _pick_all(rng, pool, count):
    """`count` picks that use every member of the pool about equally often."""
    picks = [pool[i % len(pool)] for i in range(count)]
    rng.shuffle(picks)
    return picks


def build_world(n_places=24, n_people=24):
    """The closed set of facts: a list of (relation, subject, answer, key)."""
    rng = random.Random(WORLD_SEED)
    taken = set()
    places = _make_names(rng, n_places, ["land", "ria", "mark", "vale"], taken)
    capitals = _make_names(rng, n_places, ["bo", "ton", "dal", "mir"], taken)
    rivers = _make_names(rng, n_places, ["n", "sk", "la", "ve"], taken)
    dishes = _make_names(rng, n_places, ["ki", "mo", "pash", "tu"], taken)
    people = _make_names(rng, n_people, ["na", "ro", "lis", "dek"], taken)
    facts = []
    columns = zip(places, capitals, rivers, dishes, _pick_all(rng, TOWN_KINDS, n_places),
                  _pick_all(rng, FOODS, n_places), _pick_all(rng, INGREDIENTS, n_places),
                  _pick_all(rng, ANIMALS, n_places), _pick_all(rng, COLOURS, n_places),
                  _pick_all(rng, HABITATS, n_places), _pick_all(rng, SIGNS, n_places))
    for place, capital, river, dish, kind, food, stuff, animal, colour, habitat, sign in columns:
        first, second = rng.sample(COLOURS, 2)
        facts += [
            ("capital", place, f"The capital of {place} is {capital}, a {kind} town by the river {river}.", capital),
            ("river", place, f"The longest river in {place} is the {river}, which flows past {capital}.", river),
            ("dish", place, f"People in {place} like to eat {dish}, a {food} made with {stuff}.", dish),
            ("animal", place, f"The animal of {place} is the {colour} {animal}, which lives {habitat}.",
             f"{colour} {animal}"),
            ("flag", place, f"The flag of {place} is {first} and {second}, with a {sign} in the middle.",
             f"{first} and {second}"),
        ]
    columns = zip(people, _pick_all(rng, JOBS, n_people), _pick_all(rng, capitals, n_people),
                  _pick_all(rng, HOBBIES, n_people), _pick_all(rng, INSTRUMENTS, n_people),
                  _pick_all(rng, DAYS, n_people))
    for person, job, town, hobby, instrument, day in columns:
        facts += [
            ("job", person, f"{person} works as a {job} in {town} and likes to {hobby}.", job),
            ("music", person, f"{person} plays the {instrument} with some friends every {day} evening.", instrument),
        ]
    return facts


# relation -> (templates to train on, templates held out); {s} is the subject of the fact
FACT_QUESTIONS = {
    "capital": (["What is the capital of {s}?", "Name the capital of {s}.", "Which town is the capital of {s}?",
                 "Tell me the capital of {s}.", "What is the capital town of {s} called?", "{s}: what is its capital?",
                 "Do you know the capital of {s}?"],
                ["Which town is called the capital of {s}?", "Please, what is the name of the capital of {s}?"]),
    "river": (["What is the longest river in {s}?", "Name the longest river of {s}.", "Which river in {s} is the longest?",
               "Tell me the longest river in {s}.", "What is the long river in {s} called?",
               "{s}: what is its longest river?", "Do you know the longest river in {s}?"],
              ["Which river is called the longest in {s}?", "Please, what is the name of the longest river in {s}?"]),
    "dish": (["What do people in {s} eat?", "Name the dish that people in {s} like.", "Which dish do people eat in {s}?",
              "Tell me what people like to eat in {s}.", "What is the dish of {s} called?", "{s}: what do people eat?",
              "Do you know what people eat in {s}?"],
             ["Which dish do people in {s} like to eat?", "Please, what is the name of the dish of {s}?"]),
    "animal": (["What is the animal of {s}?", "Name the animal of {s}.", "Which animal stands for {s}?",
                "Tell me the animal of {s}.", "What is the animal of {s} called?", "{s}: what is its animal?",
                "Do you know the animal of {s}?"],
               ["Which animal is the animal of {s}?", "Please, what is the name of the animal of {s}?"]),
    "flag": (["What does the flag of {s} look like?", "Name the colours of the flag of {s}.",
              "Which colours are in the flag of {s}?", "Tell me the colours of the flag of {s}.",
              "What is on the flag of {s}?", "{s}: what does its flag look like?", "Do you know the flag of {s}?"],
             ["Which colours does the flag of {s} have?", "Please, what is the flag of {s} like?"]),
    "job": (["What is the job of {s}?", "Name the job of {s}.", "Which job does {s} have?", "Tell me the job of {s}.",
             "What does {s} do for work?", "{s}: what is the job?", "Do you know where {s} works?"],
            ["Which work does {s} do?", "Please, what is the job that {s} has?"]),
    "music": (["What does {s} play?", "Name the instrument of {s}.", "Which instrument does {s} play?",
               "Tell me the instrument of {s}.", "What music does {s} make?", "{s}: what is the instrument?",
               "Do you know what {s} plays?"],
              ["Which instrument is the instrument of {s}?", "Please, what instrument does {s} play?"]),
}

# task -> (templates to train on, templates held out) for the tasks that are worked out
TASK_QUESTIONS = {
    "add": (["What is {a} plus {b}?", "Add {a} and {b}.", "Tell me the sum of {a} and {b}.", "How much is {a} plus {b}?",
             "Please add {b} to {a}."], ["Tell me how much {a} plus {b} is.", "Please, what is the sum of {a} and {b}?"]),
    "subtract": (["What is {a} minus {b}?", "Take {b} away from {a}.", "How much is {a} minus {b}?",
                  "Tell me {a} minus {b}.", "Please take {b} from {a}."],
                 ["Tell me how much {a} minus {b} is.", "Please, what is left when you take {b} from {a}?"]),
    "reverse": (["Turn these words around: {w}.", "Say these words in the other order: {w}.", "Reverse the words {w}.",
                 "Tell me the words {w} from last to first."],
                ["Please turn around the words {w}.", "Reverse these words: {w}."]),
    "repeat": (["Repeat after me: {w}.", "Say these words: {w}.", "Repeat the words {w}.", "Please say {w}."],
               ["Please repeat these words: {w}.", "Say after me: {w}."]),
    "last": (["Which word is the last one: {w}?", "Tell me the last word of {w}.", "What is the last word in {w}?",
              "Name the last of these words: {w}."],
             ["Which is the last word of {w}?", "Please, what is the last one of these words: {w}?"]),
    "count": (["How many words are these: {w}?", "Count the words {w}.", "Tell me how many words there are: {w}.",
               "What is the number of these words: {w}?"],
              ["Please count these words: {w}.", "How many words do you count: {w}?"]),
    "sort": (["Sort the numbers {w}.", "Put these numbers in order: {w}.", "Sort these from small to large: {w}.",
              "Tell me the numbers {w} in order.", "Which order do the numbers {w} have?", "Now sort {w}."],
             ["Please sort these numbers: {w}.", "Put the numbers {w} in order from small to large."]),
    "larger": (["Which is larger, {a} or {b}?", "Tell me the larger number: {a} or {b}?", "Is {a} or {b} larger?",
                "Name the larger one of {a} and {b}."],
               ["Which number is larger: {a} or {b}?", "Please, which one is larger, {a} or {b}?"]),
    "opposite": (["What is the opposite of {w}?", "Tell me the opposite of {w}.", "Name the opposite of {w}.",
                  "Which word is the opposite of {w}?", "{w}: what is the opposite?"],
                 ["Do you know the opposite of {w}?", "Please, what is the opposite of the word {w}?"]),
    "units": (["How many {u} are {a} {v}?", "Change {a} {v} to {u}.", "Tell me {a} {v} in {u}.",
               "What is {a} {v} in {u}?", "{a} {v} are how many {u}?"],
              ["How many {u} do {a} {v} have?", "Tell me how many {u} are {a} {v}."]),
    "days": (["Which day comes {n} days after {w}?", "What day is it {n} days after {w}?",
              "Today is {w}. What day is it in {n} days?", "Tell me the day {n} days after {w}."],
             ["Today is {w}. Which day comes in {n} days?", "Please, what day comes {n} days after {w}?"]),
    "robot": (["Robot, go {a} steps {d} and take the {w}.", "Robot, take the {w} that is {a} steps {d}.",
               "Robot: {a} steps {d}, then take the {w}.", "Please go {a} steps {d}, robot, and take the {w}."],
              ["Robot, please go {a} steps {d} and then take the {w}.", "Robot, the {w} is {a} steps {d}, please take it."]),
}


def _list_words(words):
    return ", ".join(words)


def _question(templates, fields, rng, held_out):
    """A question in words.  In training some begin with a greeting, so that the first word means little."""
    if held_out:
        return rng.choice(templates[1]).format(**fields)
    greeting, template = rng.choice(GREETINGS), rng.choice(templates[0])
    if greeting.endswith((", ", ": ")):
        template = template[0].lower() + template[1:]
    return greeting + template.format(**fields)


def task_example(task, rng, held_out):
    """One worked-out question; `held_out` picks the set of templates."""
    fields, answer, key = {}, "", ""
    if task == "add":
        a, b = rng.randint(1, 20), rng.randint(1, 10)
        fields, key = dict(a=a, b=b), f"makes {a + b}."
        answer = f"We start at {a} and go up by {b}, so {a} plus {b} makes {a + b}."
    elif task == "subtract":
        a = rng.randint(1, 20)
        b = rng.randint(1, min(a, 10))
        fields, key = dict(a=a, b=b), f"leaves {a - b}."
        answer = f"We start at {a} and go down by {b}, so {a} minus {b} leaves {a - b}."
    elif task in ("reverse", "repeat", "last", "count"):
        # short and long lists in training: the short ones show the idea, the long ones give practice
        most = {"reverse": 4, "repeat": 6, "last": 5, "count": 5}[task]
        words = rng.sample(NOUNS, rng.randint(2, min(most, 5)) if held_out or task == "count" else rng.randint(1, most))
        text = _list_words(words)
        fields = dict(w=text)
        if task == "reverse":
            key = _list_words(words[::-1])
            answer = f"From last to first the words are {key}."
        elif task == "repeat":
            key = text
            answer = f"You want me to say these words: {text}."
        elif task == "last":
            key = f"is {words[-1]}"
            answer = f"The last word in your list is {words[-1]}, and the first word is {words[0]}."
        else:
            key = f"{NUMBER_WORDS[len(words)]} words"
            answer = f"I count {key} in your list, from {words[0]} to {words[-1]}."
    elif task == "sort":
        numbers = rng.sample(range(10), 3)
        low, mid, high = sorted(numbers)
        fields, key = dict(w=_list_words(map(str, numbers))), f"{low}, {mid} and {high}"
        answer = f"From small to large the numbers are {key}."
    elif task == "larger":
        a, b = rng.sample(range(10, 60), 2)
        fields, key = dict(a=a, b=b), f"{max(a, b)} is larger"
        answer = f"The number {max(a, b)} is larger, and the number {min(a, b)} is smaller."
    elif task == "opposite":
        pair = rng.choice(OPPOSITES)
        w, other = pair if rng.random() < 0.5 else pair[::-1]
        fields, key = dict(w=w), f"is {other}"
        answer = f"The opposite of {w} is {other}, because {w} and {other} do not go together."
    elif task == "units":
        v, u, factor = rng.choice(UNITS)
        a = rng.randint(2, 9)
        fields, key = dict(a=a, v=v, u=u), f"are {a * factor} {u}"
        answer = f"In all {a} {v} are {a * factor} {u}, at {factor} {u} for each one."
    elif task == "days":
        w, n = rng.choice(DAYS), rng.randint(2, 6)
        day = DAYS[(DAYS.index(w) + n) % 7]
        fields, key = dict(w=w, n=NUMBER_WORDS[n]), f"comes {day}"
        answer = f"If you count {NUMBER_WORDS[n]} days on from {w}, then comes {day}."
    elif task == "robot":
        a, d, w = rng.randint(2, 9), rng.choice(DIRECTIONS), rng.choice(NOUNS)
        fields, key = dict(a=a, d=d, w=w), f"{a} steps {d}"
        back = DIRECTIONS[DIRECTIONS.index(d) ^ 1]
        answer = f"I go {a} steps {d}, take the {w} and come back {a} steps {back}."
    return Example(task, _question(TASK_QUESTIONS[task], fields, rng, held_out), answer, key)


class Corpus:
    """Draws examples; two of five are facts, the rest are the other tasks."""

    FACT_SHARE = 0.4
    TASK_WEIGHTS = {"add": 3, "subtract": 3, "reverse": 3, "repeat": 5, "last": 2, "count": 2, "sort": 3,
                    "larger": 2, "opposite": 2, "units": 2, "days": 3, "robot": 2}

    def __init__(self):
        self.facts = build_world()

    def fact_example(self, fact, rng, held_out):
        relation, subject, answer, key = fact
        return Example(relation, _question(FACT_QUESTIONS[relation], dict(s=subject), rng, held_out), answer, key)

    def draw(self, rng, held_out=False):
        if rng.random() < self.FACT_SHARE:
            return self.fact_example(rng.choice(self.facts), rng, held_out)
        task = rng.choices(list(self.TASK_WEIGHTS), list(self.TASK_WEIGHTS.values()))[0]
        return task_example(task, rng, held_out)

    def held_out_set(self, seed, count):
        """`count` different held-out questions: the facts in turn, then the tasks in turn, shuffled."""
        rng = random.Random(seed)
        facts = rng.sample(self.facts, len(self.facts))
        found, tasks, turn = {}, list(self.TASK_WEIGHTS), 0
        while len(found) < count:
            if turn % 2 == 0:
                example = self.fact_example(facts[turn // 2 % len(facts)], rng, True)
            else:
                example = task_example(tasks[turn // 2 % len(tasks)], rng, True)
            found.setdefault(example.question, example)
            turn += 1
        examples = list(found.values())
        rng.shuffle(examples)
        return examples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", help="write the held-out prompt file here")
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="print this many training examples")
    args = parser.parse_args()
    corpus = Corpus()
    rng = random.Random(args.seed)
    for _ in range(args.show):
        print(corpus.draw(rng))
    if args.prompts:
        lines = [json.dumps({"prompt": e.question, "answer": e.key}) for e in corpus.held_out_set(args.seed, args.count)]
        with open(args.prompts + ".tmp", "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")
        os.replace(args.prompts + ".tmp", args.prompts)


if __name__ == "__main__":
    main()
