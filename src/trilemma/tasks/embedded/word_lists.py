"""The words of the embedded suite: synonym sets by meaning, opposites, names, places.

In each set the words before ``|`` are those that the grammars write; the others never occur in training
or validation text, so a model trained on the suite alone has not seen them. A word belongs to one set only.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SynonymSet:
    """Words that can stand for each other in any sentence of the suite.

    Attributes:
        words: words that the grammars use.
        rare: words that only an attack uses.
    """

    words: tuple[str, ...]
    rare: tuple[str, ...]


def _sets(*lines: str) -> tuple[SynonymSet, ...]:
    parts = [line.partition("|") for line in lines]
    return tuple(SynonymSet(tuple(words.split()), tuple(rare.split())) for words, _, rare in parts)


POSITIVE = _sets(
    "splendid superb magnificent | resplendent",
    "funny hilarious amusing | droll",
    "moving touching poignant | stirring",
    "clever witty sharp | astute",
    "gripping thrilling exciting | riveting",
    "charming delightful lovely | enchanting",
    "original inventive fresh | novel",
    "honest sincere genuine | heartfelt",
    "elegant graceful polished | refined",
    "memorable unforgettable striking | indelible",
)
NEGATIVE = _sets(
    "awful terrible dreadful | abysmal",
    "dull boring tedious | humdrum",
    "silly foolish idiotic | asinine",
    "clumsy awkward sloppy | ungainly",
    "shallow hollow empty-headed | vapid",
    "predictable stale formulaic | hackneyed",
    "ugly hideous garish | unsightly",
    "confusing muddled incoherent | befuddling",
    "annoying irritating grating | vexing",
    "lifeless bland insipid | anaemic",
)
WORKS = _sets(
    "film movie picture | flick",
    "story tale plot | narrative",
    "ending finale conclusion | denouement",
    "music soundtrack score | melody",
    "dialogue script screenplay | libretto",
    "acting performance playing | portrayal",
    "humour comedy joking | jesting",
    "opening beginning prologue | prelude",
    "hero lead protagonist | headliner",
    "camera photography lighting | cinematography",
)
VERBS = _sets(
    "repaired fixed mended | patched-up",
    "painted repainted | recoloured",
    "bought purchased | acquired",
    "cleaned washed | cleansed",
    "finished completed | finalised",
    "found discovered | unearthed",
    "built constructed | fabricated",
    "sold | vended",
)
THINGS = _sets(
    "bicycle bike | two-wheeler",
    "sofa couch | settee",
    "boat | watercraft",
    "watch wristwatch | timepiece",
    "gate | gateway",
    "carpet rug | carpeting",
    "lamp | luminaire",
    "cupboard cabinet | armoire",
    "violin fiddle | stringed-instrument",
    "suitcase | valise",
    "piano | pianoforte",
    "table | tabletop",
    "mirror | looking-glass",
)
QUESTION_WORDS = _sets(
    "begin start | commence",
    "hard difficult | arduous",
    "expensive costly | pricey",
    "money | cash",
    "people | folk",
    "children | youngsters",
    "old | aged",
    "limit | restriction",
    "step | stage",
)
TOPICS = (
    "chess", "Spanish", "pottery", "welding", "sailing", "knitting", "archery", "juggling", "beekeeping",
    "calligraphy", "fencing", "carpentry", "gardening", "photography", "swimming", "accounting", "statistics",
    "Mandarin", "astronomy", "baking", "bookbinding", "surfing", "poetry", "typing", "dancing", "geometry",
    "glassblowing", "Portuguese", "mountaineering", "weaving", "singing", "origami", "falconry", "tailoring",
)  # fmt: skip
SCALES = (
    _sets("big large | sizeable", "small little | undersized"),
    _sets("noisy loud | clamorous", "quiet silent | noiseless"),
    _sets("dangerous unsafe | hazardous", "safe secure | risk-free"),
)
"""Pairs of opposite sets: what is one is not the other. Words of a set are equally strong."""

SETTINGS = _sets(
    "lawyers | attorneys",
    "drivers | motorists",
    "teachers | schoolteachers",
    "doctors | physicians",
    "cooks | chefs",
    "guards | sentries",
    "farmers | growers",
    "shepherds | sheepherders",
    "fishermen | anglers",
    "tired | weary",
    "late | tardy",
    "married | wedded",
    "hungry | famished",
    "polite | courteous",
    "busy | occupied",
    "famous | renowned",
    "cheerful | jolly",
    "lonely | lonesome",
    "office | bureau",
    "market | bazaar",
    "letter | missive",
    "mayor | burgomaster",
    "phone | telephone",
    "bill | invoice",
    "window | casement",
    "horses | steeds",
    "fence | paling",
    "wagon | cart",
    "cellar | basement",
    "harbour | port",
)
"""People, places and things of the inference tasks."""

NAMES = (
    "Anna", "Omar", "Lucia", "Henrik", "Mei", "Tomas", "Aisha", "Pavel", "Ingrid", "Diego", "Leila",
    "Marcus", "Yuki", "Fatima", "Oscar", "Elena", "Samuel", "Priya", "Viktor", "Clara", "Jonas", "Amara",
    "Felix", "Nadia", "Hugo", "Rosa", "Emil", "Zara", "Ivan", "Greta",
)  # fmt: skip
PLACES = (
    "Oslo", "Lima", "Cairo", "Kyoto", "Dublin", "Nairobi", "Lisbon", "Prague", "Toronto", "Hanoi", "Athens",
    "Bergen", "Quito", "Zagreb", "Havana", "Geneva", "Tunis", "Riga", "Bogota", "Malmo",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "March", "April", "June", "July", "September", "October", "December")

SYNONYM_SETS: tuple[SynonymSet, ...] = (
    *POSITIVE,
    *NEGATIVE,
    *WORKS,
    *VERBS,
    *THINGS,
    *QUESTION_WORDS,
    *SETTINGS,
    *(side for scale in SCALES for side in scale),
)


def synonyms(word: str) -> tuple[str, ...]:
    """Words that can replace ``word`` (lower case), rare ones first; empty where there is none."""
    found = _SET_OF.get(word)
    return () if found is None else tuple(other for other in (*found.rare, *found.words) if other != word)


_SET_OF: Mapping[str, SynonymSet] = {word: one for one in SYNONYM_SETS for word in (*one.words, *one.rare)}
