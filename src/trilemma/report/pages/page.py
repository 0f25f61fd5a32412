"""A self-contained HTML page that opens offline: the frame of every page, and a page of charts and tables.

Everything that comes from data reaches the page either through :func:`html.escape` or inside a JSON
block in which ``<``, ``>`` and ``&`` are escaped; the scripts write it with ``textContent`` alone. A
content security policy forbids every request and every script but the page's own (by hash).
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from trilemma.report.charts.encoding import Figure
from trilemma.report.layout import Sheet
from trilemma.report.pages.sections import titled_grid


def render(
    title: str,
    facts: Sequence[str],
    figures: Sequence[Figure],
    sections: Mapping[str, str],
    sheets: Sequence[Sheet],
) -> str:
    """A page of charts, sentences and tables as a string.

    Args:
        title: heading of the page, as text.
        facts: lines below it, such as hardware and versions, as text.
        figures: the charts that are drawn in its sections.
        sections: its sections by id, in order, as markup.
        sheets: tables, below them.
    """
    if sheets:
        tables = "".join(titled_grid(sheet) for sheet in sheets)
        numbers = f'<section id="numbers"><h2>The numbers</h2><div class="sheets">{tables}</div></section>'
        sections = {**sections, "numbers": numbers}
    lines = "".join(f'<p class="meta">{escape(fact)}</p>' for fact in facts)
    head = f'<section class="hero"><h1>{escape(title)}</h1>{lines}</section>'
    return frame(
        title=title,
        sections={name: name.capitalize() for name in sections},
        main="\n".join([head, *sections.values()]),
        data={"figures": figures_data(figures)},
    )


def text_section(name: str, title: str, sentences: Mapping[str, Sequence[str]]) -> str:
    """A section of sentences, by the heading of each topic; all that is given is text."""
    entries = "".join(
        f"<h3>{escape(topic)}</h3>{''.join(f'<p>{escape(sentence)}</p>' for sentence in about)}"
        for topic, about in sentences.items()
    )
    return f'<section id="{name}" class="prose sheets"><h2>{escape(title)}</h2>{entries}</section>'


def frame(
    *,
    title: str,
    sections: Mapping[str, str],
    main: str,
    data: Mapping[str, Any],
    scripts: Sequence[str] = (),
    skip_to: str = "content",
    source: str = "",
) -> str:
    """A whole page around its content.

    Args:
        title: of the document, as text.
        sections: id to label of the sections that the bar at the top links to; absent ones are left out.
        main: the content, as markup.
        data: what the scripts read; ``figures`` is :func:`figures_data`.
        scripts: files of the page's own scripts, which run after ``page.js``.
        skip_to: what the first link leads to, past the bar.
        source: what the footer says it was written from, as markup.
    """
    library = _library()
    script = "\n".join(resource(name) for name in ("page.js", *scripts))
    links = "".join(f'<a href="#{name}">{escape(label)}</a>' for name, label in sections.items())
    return Template(resource("page.html")).substitute(
        title=escape(title),
        policy=_policy(library, script),
        style=resource("style.css"),
        skip_to=skip_to,
        sections=links,
        main=main,
        source=source,
        data=embed_json(data),
        library=library,
        script=script,
    )


def figures_data(figures: Iterable[Figure]) -> dict[str, Any]:
    """The charts and their choices as ``page.js`` reads them."""
    return {
        figure.name: {
            "choices": figure.choices,
            "variants": [[*key, spec] for key, spec in figure.variants.items()],
        }
        for figure in figures
    }


def embed_json(data: Any) -> str:
    """JSON that is safe inside a script element: ``<``, ``>``, ``&``, U+2028 and U+2029 are escaped.

    NaN and infinities, which JSON does not have, are null: a chart leaves such a point out.
    """
    text = json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def resource(name: str) -> str:
    """The text of a file beside this one."""
    return files("trilemma.report.pages").joinpath(name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, from vl-convert: no network."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace(
        "</script", "<\\/script"
    )


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
