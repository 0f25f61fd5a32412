"""A small lexicon of synonyms that comes with the package, so that words can be swapped offline.

The embedded suite's own sets, and common words of English beside them. In a set of ours every word can stand
for every other one in nearly all sentences (but for "a" and "an" before it): the same grammatical form, the
same sentiment, no further sense that is more frequent. A word belongs to one set only. It is no WordNet: it
is short, and errs towards leaving a word alone.
"""

from collections.abc import Mapping
from functools import lru_cache

from trilemma.tasks.embedded.lexicon import SYNONYM_SETS
from trilemma.tasks.embedded.lexicon import synonyms as _of_the_suite

COMMON = """
assisted aided helped, assisting aiding helping, attempted tried, attempting trying, permitted allowed,
permitting allowing, select choose, selects chooses, selected chose, selecting choosing, inform notify,
informs notifies, informed notified, informing notifying, conceal hide, conceals hides, concealed hid,
concealing hiding, occur happen, occurs happens, occurred happened, occurring happening, construct build,
constructs builds, vanish disappear, vanishes disappears, vanished disappeared, vanishing disappearing,
enlarge expand, enlarges expands, enlarged expanded, enlarging expanding, gather collect, gathers
collects, gathered collected, gathering collecting, arrest detain, arrests detains, arrested detained,
arresting detaining, responded replied, responding replying, wept cried, weeping crying, forecasting
predicting, supplied provided, supplying providing, halted stopped, halting stopping, frightened scared,
frightening scaring, wrecked ruined, wrecking ruining, examine inspect, examines inspects, examined
inspected, examining inspecting, conversed talked, comprehend understand, comprehends understands,
comprehended understood, comprehending understanding, recollect remember, recollects remembers,
recollected remembered, recollecting remembering, portray depict, portrays depicts, portrayed depicted,
portraying depicting, quick speedy, rapidly quickly swiftly, slowly unhurriedly, gladly happily, sadly
regrettably, intelligent smart, wealthy rich affluent, tiny minuscule, huge enormous gigantic, ancient
age-old, modern contemporary, attractive good-looking, scary spooky, strange odd peculiar, usual
customary, unusual uncommon, frequent repeated, frequently often, seldom rarely infrequently, probably
presumably, perhaps maybe possibly, nearly almost, roughly approximately, entirely completely wholly
totally, partly partially, especially particularly, mainly mostly chiefly primarily, truly genuinely,
extremely exceedingly immensely, suddenly abruptly, immediately instantly, finally eventually, recently
lately, formerly previously, obviously evidently, accurate exact precise, incorrect wrong mistaken,
essential vital crucial, important significant, unimportant insignificant, adequate satisfactory, entire
whole, glad happy, angry furious, calm tranquil, brave courageous, cruel merciless, loyal faithful,
disloyal unfaithful, generous openhanded, stingy miserly, exhausted worn-out, sleepy drowsy, ill sick
unwell, excellent outstanding superlative first-rate, wonderful marvelous fabulous, brilliant dazzling,
enjoyable pleasurable, pleasant agreeable, unpleasant disagreeable, fantastic sensational, impressive
admirable, awesome amazing astonishing, remarkable noteworthy extraordinary, beautiful gorgeous, perfect
flawless, flawed imperfect faulty, horrible horrid, horrific ghastly, lousy crummy, mediocre so-so
middling, disappointing underwhelming, pathetic pitiful, worthless valueless, pointless senseless
meaningless, useless futile, ridiculous ludicrous laughable absurd, dreary drab, slow-moving sluggish,
repetitive repetitious, messy untidy, superficial skin-deep, pretentious pompous, offensive insulting,
captivating spellbinding mesmerizing, compelling absorbing engrossing, tragic heartbreaking heartrending,
hopeful optimistic, pessimistic defeatist, dramatic theatrical, bold daring, filmmaker moviemaker, critic
reviewer, critics reviewers, author writer, authors writers, song tune, songs tunes, photo photograph
snapshot, photos photographs snapshots, error mistake, errors mistakes, flaw defect, flaws defects, fault
shortcoming, faults shortcomings, success triumph, failure flop, failures flops, idea notion, ideas
notions, goal aim objective, goals aims objectives, method approach technique, methods approaches
techniques, result outcome, results outcomes, danger peril, dangers perils, joy delight, sorrow grief
sadness, anger rage fury, courage bravery valor, wisdom sagacity, illness sickness, illnesses sicknesses,
hospital infirmary, medicine medication, medicines medications, child kid, baby infant, babies infants,
boy lad, boys lads, girl lass, girls lasses, friend pal buddy, friends pals buddies, enemy foe, enemies
foes, neighbor neighbour, employee staffer, employees staffers, company firm, companies firms, salary
wage, salaries wages, automobile car, automobiles cars, airplane aeroplane aircraft, airplanes
aeroplanes, truck lorry, trucks lorries, road roadway, roads roadways, highway motorway, house dwelling,
houses dwellings, forests woodlands, oceans seas, garbage trash rubbish, dawn daybreak sunrise, dusk
sunset, soldier serviceman, soldiers servicemen, policeman constable, thief robber, thieves robbers,
killer murderer slayer, killers murderers slayers, prison jail, prisons jails, prisoner inmate, prisoners
inmates, crime offence, crimes offences, lawmaker legislator, lawmakers legislators, nation country,
nations countries, agreement accord, agreements accords, proposal proposition, proposals propositions,
suggestion recommendation, suggestions recommendations, information info, scientist researcher,
scientists researchers, pupil schoolchild, pupils schoolchildren, college university, colleges
universities, town township, towns townships, city municipality, cities municipalities, border frontier,
borders frontiers, region area, regions areas, center centre, amount quantity, amounts quantities,
component constituent, components constituents, piece chunk, pieces chunks, shop store, shops stores,
supermarket grocery, clothes clothing garments, trousers slacks, meal repast, meals repasts, soup broth,
cookie biscuit, cookies biscuits, sweets candies, drink beverage, drinks beverages, although though,
however nevertheless nonetheless, therefore thus hence, moreover furthermore, within inside, beneath
underneath below, amid amidst, among amongst, toward towards, until till, everybody everyone, somebody
someone, anybody anyone, tremendous colossal, vast immense, minor slight, gradual step-by-step, rapid
brisk, freezing icy, shiny gleaming, dirty filthy, empty vacant, fat overweight, thin slender slim,
complicated complex intricate, possible feasible, impossible unfeasible, uncertain unsure, dubious
doubtful questionable, unknown obscure, annual yearly, brief short-lived, temporary provisional, foreign
overseas, domestic homegrown, native indigenous, unable incapable, eager keen, reluctant unwilling, lucky
fortunate, unlucky unfortunate, luckily fortunately, unfortunately unluckily, accidentally
unintentionally inadvertently, deliberately intentionally purposely, carefully cautiously, carelessly
recklessly, honestly frankly, secretly covertly, barely scarcely
"""
"""Sets of common words, with a comma between two sets."""


@lru_cache(maxsize=1)
def embedded_synonyms() -> Mapping[str, tuple[str, ...]]:
    """Synonyms by word, in small letters; the suite's rare words first."""
    suite = {word for one in SYNONYM_SETS for word in (*one.words, *one.rare)}
    found = {word: _of_the_suite(word) for word in suite}
    for group in COMMON.split(","):
        words = group.split()
        found |= {word: tuple(other for other in words if other != word) for word in words}
    return found


def synonyms(word: str) -> tuple[str, ...]:
    """Synonyms of one word in small letters, as ``Synonyms`` asks for them; none of an unknown word."""
    return embedded_synonyms().get(word, ())
