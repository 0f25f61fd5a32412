"""What a study's two tables say, for people: tables, verdict, charts, page, cards.

Everything here is computed from the records and items tables (as pandas frames) and nothing else.
"""
