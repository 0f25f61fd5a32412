"use strict";
/** What every page has: theme, charts, tabs; gives what a page's own script builds with. */
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);

  /** An element with text (never markup) and children. */
  function make(tag, options = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "text") element.textContent = value;
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, label]) => make("option", { value, text: label })));
  }

  const unique = (values) => [...new Set(values)];

  // Theme: the system's, until the reader chooses.
  const button = $("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  function applyTheme() {
    const dark = chosen === null ? system.matches : chosen === "dark";
    root.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
    button.querySelector(".label").textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
  }
  button.addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    applyTheme();
    drawAll();
  });
  system.addEventListener("change", () => { applyTheme(); drawAll(); });
  applyTheme();

  // Charts.
  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  function chartConfig() {
    const font = getComputedStyle(document.body).fontFamily;
    const text = { labelColor: color("muted"), titleColor: color("muted"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400 };
    return {
      background: null, font, view: { stroke: null },
      axis: { ...text, gridColor: color("line"), domainColor: color("line"), tickColor: color("line"), labelPadding: 6, titlePadding: 12, labelLimit: 220 },
      legend: { ...text, gradientLength: 160 },
      text: { color: color("ink") },
      range: {
        category: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => color(`c${i}`)),
        heatmap: [color("heat0"), color("heat1"), color("heat2")],
      },
    };
  }
  function themed(spec) {
    const values = {
      muted: color("muted"), panel: color("panel"), inkLow: color("heat-low"), inkHigh: color("heat-high"), inkAt: Number(color("heat-at")),
    };
    const params = (spec.params || []).map((p) => (p.name in values ? { ...p, value: values[p.name] } : p));
    return { ...spec, params };
  }
  const charts = [];
  function drawAll() { for (const draw of charts) draw(); }

  for (const element of document.querySelectorAll("[data-figure]")) {
    const figure = data.figures[element.dataset.figure];
    if (!figure) { element.closest("section").querySelector(".controls")?.remove(); element.remove(); continue; }
    const controls = document.querySelector(`[data-controls="${element.dataset.figure}"]`);
    const selects = figure.choices.map((label) => {
      const select = make("select");
      controls.append(make("label", { text: label }, select));
      return select;
    });
    const keys = figure.variants.map((variant) => variant.slice(0, -1));
    const state = [...keys[0]];
    function refresh() {
      selects.forEach((select, i) => {
        const open = unique(keys.filter((key) => key.slice(0, i).every((part, j) => part === state[j])).map((key) => key[i]));
        if (!open.includes(state[i])) state[i] = open[0];
        fill(select, open.map((value) => [value, value]));
        select.value = state[i];
        select.disabled = open.length < 2;
      });
    }
    function draw() {
      const index = keys.findIndex((key) => key.every((part, i) => part === state[i]));
      const spec = themed(figure.variants[index].at(-1));
      vegaEmbed(element, spec, {
        ast: true, renderer: "svg", config: chartConfig(), downloadFileName: `trilemma-${element.dataset.figure}`,
        actions: { export: true, source: false, compiled: false, editor: false }, tooltip: { theme: "custom" },
      }).then(() => { element.dataset.drawn = state.join(", "); });
    }
    selects.forEach((select, i) => select.addEventListener("change", () => { state[i] = select.value; refresh(); draw(); }));
    refresh();
    draw();
    charts.push(draw);
  }

  // Tabs.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  function choose(tab) {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      $(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(i + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });

  for (const link of document.querySelectorAll("nav a")) if (!$(link.hash.slice(1))) link.remove();
  root.dataset.ready = "true";
  return { data, $, make, fill, unique };
})();
