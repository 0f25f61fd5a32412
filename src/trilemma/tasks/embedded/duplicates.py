"""Paraphrase, in the shape of QQP: do two questions ask the same thing?

Both questions are about learning a skill. Duplicates share topic and intent in other words; the
others differ in intent, or now and then in the topic, and share most of their words all the same.
"""

import random

from trilemma.tasks.embedded.grammar import Item
from trilemma.tasks.embedded.word_lists import TOPICS

_INTENTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("How do I begin with {t}?", "How can a person start {t}?", "What is the first step in {t}?"),
        "{t}: where does one begin?",
        "I know nothing of {t}; tell me what to do first.",
    ),
    (
        ("Is {t} expensive?", "How costly is {t}?", "How much money does {t} cost?"),
        "The price of {t}, is it high?",
        "My purse is thin. Can I afford {t}?",
    ),
    (
        ("Is {t} hard?", "How difficult is {t}?", "Do many people find {t} too hard?"),
        "The difficulty of {t}, how great is it?",
        "I give up easily. Will {t} defeat me?",
    ),
    (
        ("Am I too old for {t}?", "At what age should children do {t}?", "Is there an age limit for {t}?"),
        "Age and {t}, is there a limit?",
        "My grandmother is ninety and my son is four. Which of them may try {t}?",
    ),
)  # fmt: skip
_OPENERS = ("", "", "", "", "", "", "Please tell me: ", "Serious question: ", "Just curious: ")


def draw(rng: random.Random, label: int) -> Item:
    """Duplicates (label 1) or questions that differ (0)."""
    topic, other_topic = rng.sample(TOPICS, 2)
    intent, other_intent = rng.sample(_INTENTS, 2)
    if label:
        second, second_topic = intent, topic
        first_words, second_words = rng.sample(intent[0], 2)
    else:
        change_topic = rng.random() < 0.1
        second, second_topic = (intent, other_topic) if change_topic else (other_intent, topic)
        first_words, second_words = rng.choice(intent[0]), rng.choice(second[0])
    first_text = rng.choice(_OPENERS) + first_words.format(t=topic)
    second_text = rng.choice(_OPENERS) + second_words.format(t=second_topic)
    rewritten = second[1].format(t=second_topic)
    return Item(
        label,
        (first_text, second_text),
        (first_text, rewritten[0].upper() + rewritten[1:]),
        (first_text, second[2].format(t=second_topic)),
    )
