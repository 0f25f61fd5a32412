/** What a study's page has besides page.js, after which it runs: comparisons and examples. */
(() => {
  const { data, $, make, fill, unique } = page;
  const percent = (x) => `${(100 * x).toFixed(0)}%`;

  function mark(index) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", `mark c${index % 8}`);
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#s${(index + Math.floor(index / 8)) % 8}`);
    svg.append(use);
    return svg;
  }

  // Paired comparisons: [a, b, metric, task, level, [difference, low, high] | null, p | null, n, verdict, test].
  const columns = [["First", 0], ["Second", 1], ["Task", 3], ["Level", 4], ["Difference, points", 5], ["p (Holm)", 6], ["Items", 7], ["Verdict", 8]];
  const filters = { metric: [$("comparison-metric"), 2], task: [$("comparison-task"), 3], level: [$("comparison-level"), 4] };
  let sorting = { column: null, ascending: true };
  let comparisonLimit = 12;
  const sortKey = (row, column) => (column === 5 ? (row[5] ? row[5][0] : null) : row[column]);

  function comparisonRow(row) {
    const [a, b, , task, level, difference, p, n, verdict, test] = row;
    const points = (x) => (100 * x).toFixed(1).replace("-", "−");
    const delta = difference ? `${difference[0] > 0 ? "+" : ""}${points(difference[0])} [${points(difference[1])}, ${points(difference[2])}]` : "–";
    const apart = verdict === "a better" || verdict === "b better";
    const words = verdict === "a better" ? "first better" : verdict === "b better" ? "second better" : verdict;
    const chance = p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3);
    const [first, second] = [[a, "a better"], [b, "b better"]].map(([name, wins]) =>
      make("td", { class: verdict === wins ? "good" : null }, mark(Math.max(0, data.candidates.indexOf(name))), name));
    return make("tr", { title: test }, first, second, ...[task, level, delta, chance, String(n)].map((text) => make("td", { text })),
      make("td", { text: words, class: apart ? "good" : null }));
  }
  function drawComparisons() {
    let rows = data.comparisons.filter((row) => Object.values(filters).every(([select, i]) => !select.value || row[i] === select.value));
    if ($("comparison-apart").checked) rows = rows.filter((row) => row[8] === "a better" || row[8] === "b better");
    if (sorting.column !== null) {
      rows = [...rows].sort((one, other) => {
        const [x, y] = [sortKey(one, sorting.column), sortKey(other, sorting.column)];
        if (x === null || y === null) return (x === null) - (y === null);
        return (x < y ? -1 : x > y ? 1 : 0) * (sorting.ascending ? 1 : -1);
      });
    }
    $("comparison-count").textContent = `${rows.length} of ${data.comparisons.length} comparisons`;
    const table = $("comparison-table");
    table.tHead.replaceChildren(make("tr", {}, ...columns.map(([title, column]) => {
      const head = make("button", { type: "button", text: title });
      head.addEventListener("click", () => {
        sorting = { column, ascending: sorting.column === column ? !sorting.ascending : true };
        drawComparisons();
        table.tHead.querySelectorAll("button")[columns.findIndex((c) => c[1] === column)].focus();
      });
      const order = sorting.column === column ? (sorting.ascending ? "ascending" : "descending") : null;
      return make("th", { scope: "col", "aria-sort": order }, head);
    })));
    table.tBodies[0].replaceChildren(...rows.slice(0, comparisonLimit).map(comparisonRow));
    $("comparison-more").hidden = rows.length <= comparisonLimit;
  }
  if (data.comparisons.length) {
    const metrics = unique(data.comparisons.map((row) => row[2]));
    fill(filters.metric[0], metrics.map((m) => [m, m]));
    if (metrics.includes("robust accuracy")) filters.metric[0].value = "robust accuracy";
    fill(filters.task[0], [["", "any"], ...unique(data.comparisons.map((row) => row[3])).map((t) => [t, t])]);
    fill(filters.level[0], [["", "any"], ...unique(data.comparisons.map((row) => row[4])).map((l) => [l, l])]);
    for (const [select] of Object.values(filters)) select.addEventListener("change", () => { comparisonLimit = 12; drawComparisons(); });
    $("comparison-apart").addEventListener("change", drawComparisons);
    $("comparison-more").addEventListener("click", () => { comparisonLimit += 100; drawComparisons(); });
    drawComparisons();
  } else {
    $("comparisons").querySelectorAll(".controls, .scroll, .more").forEach((element) => element.remove());
  }

  // Adversarial examples. An answer is [answer, confidence, original answer, original confidence].
  const regression = (example) => !(data.tasks[example.task] || []).length;
  const isRight = (example, answer) => (regression(example) ? null : answer === example.gold);
  function outcome(example, answers) {
    if (!answers.length || regression(example)) return "unknown";
    const wrong = answers.filter((a) => !isRight(example, a[0])).length;
    if (2 * wrong < answers.length) return "held";
    const before = answers.filter((a) => a[2] !== null && isRight(example, a[2])).length;
    return 2 * before >= answers.length && answers[0][2] !== null ? "fell" : "wrong";
  }
  for (const example of data.examples) {
    example.outcomes = example.answers.map((answers) => outcome(example, answers));
    example.failures = example.outcomes.filter((o) => o === "fell" || o === "wrong").length;
    example.haystack = [...example.shown, ...(example.original || [])].join("\n").toLowerCase();
  }

  /** Words of two texts with what they share (longest common subsequence). */
  function difference(before, after) {
    const [a, b] = [before, after].map((text) => text.split(/(\s+)/).filter((part) => part.trim()));
    if (a.length * b.length > 250000) return [[["same", before]], [["same", after]]];
    const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
      }
    }
    const [left, right] = [[], []];
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { left.push(["same", a[i++]]); right.push(["same", b[j++]]); }
      else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) left.push(["del", a[i++]]);
      else right.push(["ins", b[j++]]);
    }
    return [left, right];
  }
  const CONTEXT = 10, LONG = 60; // words around a change that stay, and of a text that is shown whole
  /** Long texts folded to their changes: [parts, whether anything was left out]. */
  function folded(parts) {
    if (parts.length <= LONG) return [parts, false];
    const near = new Uint8Array(parts.length);
    const changes = parts.flatMap(([kind], i) => (kind === "same" ? [] : [i]));
    for (const i of changes.length ? changes : [CONTEXT]) near.fill(1, Math.max(0, i - CONTEXT), i + CONTEXT + 1);
    const kept = parts.flatMap((part, i) => (near[i] ? [part] : i && !near[i - 1] ? [] : [["same", "…"]]));
    return [kept, kept.length < parts.length];
  }
  function words(parts, className) {
    const paragraph = make("p", { class: className, dir: "auto" });
    let run = [], kind = null;
    const flush = () => {
      if (!run.length) return;
      const text = run.join(" ");
      paragraph.append(kind === "same" ? text : make(kind, { text }), " ");
      run = [];
    };
    for (const [part, word] of parts) {
      if (part !== kind) { flush(); kind = part; }
      run.push(word);
    }
    flush();
    return paragraph;
  }
  function texts(example, whole = false) {
    const box = make("div", { class: "texts" });
    let cut = false;
    const shortened = (parts) => {
      if (whole) return parts;
      const [kept, less] = folded(parts);
      cut ||= less;
      return kept;
    };
    const pairs = example.shown.map((shown, i) => [example.original ? example.original[i] : null, shown]);
    const [before, after] = [[], []];
    for (const [original, shown] of pairs) {
      const [left, right] = original === null ? [null, shown.split(/\s+/).map((word) => ["same", word])] : difference(original, shown);
      if (left) before.push(words(shortened(left), "before"));
      after.push(words(shortened(right), "after"));
    }
    box.append(make("h4", { text: "Shown to the models" }), ...after);
    if (before.length) box.append(make("h4", { text: "Original" }), ...before);
    else box.append(make("h4", { text: "No original is published" }));
    if (cut) {
      const unfold = make("button", { type: "button", class: "unfold", text: "Show the whole text" });
      unfold.addEventListener("click", () => box.replaceWith(texts(example, true)));
      box.append(unfold);
    }
    return box;
  }
  function label(example, value) {
    if (value === null) return "–";
    return regression(example) ? value.toFixed(2) : (data.tasks[example.task][value] ?? String(value));
  }
  function answerCell(example, answers, at) {
    const given = answers.filter((a) => a[at] !== null);
    if (!given.length) return make("td", { text: "–" });
    const cell = make("td");
    for (const value of unique(given.map((a) => a[at]))) {
      const same = given.filter((a) => a[at] === value);
      const confident = same.filter((a) => a[at + 1] !== null);
      const mean = confident.reduce((sum, a) => sum + a[at + 1], 0) / confident.length;
      const right = isRight(example, value);
      const sign = right === null ? "" : right ? "✓ " : "✗ ";
      const sure = confident.length ? ` ${percent(mean)}` : "";
      const seeds = same.length < given.length ? ` · ${same.length} of ${given.length}` : "";
      cell.append(make("div", { class: right === null ? null : right ? "right" : "wrong", text: `${sign}${label(example, value)}${sure}${seeds}` }));
    }
    return cell;
  }
  function exampleCard(example) {
    const tags = make("div", { class: "tags" }, ...[example.task, example.level, example.method].filter(Boolean).map((text) => make("span", { text })),
      make("span", { class: "gold", text: `true answer: ${label(example, example.gold)}` }));
    const head = make("tr", {}, ...["", "Original", "Attacked"].map((text) => make("th", { scope: "col", text })));
    const rows = data.candidates.map((name, i) => make("tr", {}, make("th", { scope: "row" }, mark(i), name),
      answerCell(example, example.answers[i], 2), answerCell(example, example.answers[i], 0)));
    return make("article", { class: "example" }, tags, texts(example),
      make("table", { class: "answers" }, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  const control = Object.fromEntries(["task", "level", "method", "who", "outcome", "order"].map((name) => [name, $(`example-${name}`)]));
  let exampleLimit = 12;
  const matches = {
    any: () => true,
    fell: (o) => o === "fell",
    wrong: (o) => o === "fell" || o === "wrong",
    held: (o) => o === "held",
  };
  function found() {
    const query = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const who = control.who.value;
    const test = matches[control.outcome.value];
    return data.examples.filter((example) => {
      if (["task", "level", "method"].some((name) => control[name].value && example[name] !== control[name].value)) return false;
      if (!query.every((word) => example.haystack.includes(word))) return false;
      if (who === "all") return example.outcomes.every(test);
      return who === "any" ? example.outcomes.some(test) : test(example.outcomes[Number(who)]);
    });
  }
  function drawExamples() {
    const rows = found();
    const order = control.order.value;
    if (order === "hard") rows.sort((a, b) => b.failures - a.failures);
    if (order === "easy") rows.sort((a, b) => a.failures - b.failures);
    if (order === "short") rows.sort((a, b) => a.haystack.length - b.haystack.length);
    $("example-count").textContent = `${rows.length} of ${data.examples.length} examples`;
    $("example-list").replaceChildren(...rows.slice(0, exampleLimit).map(exampleCard));
    if (!rows.length) $("example-list").append(make("p", { class: "empty", text: "No example matches. Widen the filters." }));
    $("example-more").hidden = rows.length <= exampleLimit;
  }
  if (data.examples.length) {
    for (const name of ["task", "level", "method"]) {
      const values = unique(data.examples.map((example) => example[name])).filter(Boolean).sort();
      fill(control[name], [["", "any"], ...values.map((value) => [value, value])]);
    }
    fill(control.who, [["any", "at least one"], ["all", "all of them"], ...data.candidates.map((name, i) => [String(i), name])]);
    fill(control.outcome, [["any", "anything"], ["fell", "fell for it"], ["wrong", "answered wrongly"], ["held", "held"]]);
    fill(control.order, [["study", "as in the data"], ["hard", "most failures first"], ["easy", "fewest failures first"], ["short", "shortest first"]]);
    const restart = () => { exampleLimit = 12; drawExamples(); };
    for (const select of Object.values(control)) select.addEventListener("change", restart);
    $("search").addEventListener("input", restart);
    $("example-more").addEventListener("click", () => { exampleLimit += 24; drawExamples(); });
    drawExamples();
  } else {
    $("examples").querySelectorAll(".controls, .more, #example-list").forEach((element) => element.remove());
  }
})();
