"""Paraphrase, in the shape of QQP: do two questions ask the same thing?

Both questions are about learning a skill. Duplicates share topic and intent in other words; the
others differ in intent, or now and then in the topic, and share most of their words all the same.
"""

import random

from trilemma.tasks.embedded.grammar import GeneratedItem
from trilemma.tasks.embedded.word_lists import WORDS

_OPENERS = ("", "", "", "", "", "", "Please tell me: ", "Serious question: ", "Just curious: ")


def draw(rng: random.Random, label: int) -> GeneratedItem:
    """Duplicates (label 1) or questions that differ (0)."""
    topic, other_topic = rng.sample(WORDS["topics"], 2)
    intent, other_intent = rng.sample(WORDS["intents"], 2)
    if label:
        second, second_topic = intent, topic
        first_words, second_words = rng.sample(intent["questions"], 2)
    else:
        change_topic = rng.random() < 0.1
        second, second_topic = (intent, other_topic) if change_topic else (other_intent, topic)
        first_words, second_words = rng.choice(intent["questions"]), rng.choice(second["questions"])
    first_text = rng.choice(_OPENERS) + first_words.format(t=topic)
    second_text = rng.choice(_OPENERS) + second_words.format(t=second_topic)
    rewritten = second["rewritten"].format(t=second_topic)
    return GeneratedItem(
        label,
        (first_text, second_text),
        (first_text, rewritten[0].upper() + rewritten[1:]),
        (first_text, second["template"].format(t=second_topic)),
    )
