// The view "Compare": two rows beside each other, with the paired test.
"use strict";

purebench.views.compare = ({ board, rows, state, change }) => {
  const { el, estimate, percent, probability } = purebench;
  const byName = (name, place) =>
    board.rows.find((row) => row.name === name) ?? rows[place] ?? board.rows[place] ?? board.rows[0];
  const [a, b] = [byName(state.a, 0), byName(state.b, 1)];
  const choice = (key, label, chosen) =>
    el(
      "label",
      {},
      `${label} `,
      el(
        "select",
        { id: `choice-${key}`, change: (event) => change({ [key]: event.target.value }) },
        board.rows.map((one) => el("option", { value: one.name, selected: one === chosen }, one.name)),
      ),
    );
  const place = el("div", { id: "paired" }, el("p", {}, "loading …"));
  if (a === b) place.replaceChildren(el("p", {}, "Choose two different rows."));
  else {
    // one file after the other, because each hands its data over when it is loaded
    purebench
      .load(a.data, "row")
      .then((left) => purebench.load(b.data, "row").then((right) => place.replaceChildren(...tested(left, right))))
      .catch((error) => place.replaceChildren(el("p", { class: "trouble" }, error.message)));
  }

  function tested(left, right) {
    const found = purebench.paired.compare(left, right, board.confidence);
    if (!found) return [el("p", {}, "The rows have no scored images in common.")];
    const adjusted = left.p_values[board.rows.indexOf(b)] ?? undefined;
    if (adjusted === undefined) return [el("p", { class: "verdict" }, "The board has no comparison of these rows.")];
    const apart = adjusted <= 1 - board.confidence + 1e-12;
    const [value, low, high] = found.difference;
    // ranks are of the images that all rows have, on which the difference may have another sign
    const better =
      found.images === a.compared
        ? `${value > 0 ? a.name : b.name} is better`
        : `The rows differ on the ${a.compared} images that all rows have`;
    const fact = (label, text) => el("div", {}, el("dt", {}, label), el("dd", {}, text));
    return [
      el(
        "p",
        { class: "verdict" },
        apart
          ? `${better}, at ${100 * board.confidence} % confidence for all pairs of the board together.`
          : "The rows are statistically indistinguishable on this board.",
      ),
      el(
        "dl",
        { class: "facts-list" },
        fact(
          "Difference of robust accuracies, points",
          board.anytime ? percent(value) : `${percent(value)} [${percent(low)}, ${percent(high)}]`,
        ),
        fact("p, adjusted for all pairs of the board", probability(adjusted)),
        board.anytime
          ? ""
          : fact(
              `p of this pair alone (${found.test})`,
              found.p === null ? "too many images to compute it here" : probability(found.p),
            ),
        fact("Images", `${found.images}: ${found.better} favour ${a.name}, ${found.worse} favour ${b.name}`),
      ),
      el(
        "p",
        { class: "legend" },
        board.anytime
          ? "The results decided where the run ended, so only the p-value that holds at any time is shown. "
          : "Interval and test are those of purebench compare, on the fresh draws at each row's picked adversarial examples. ",
        "The adjusted p-value decides the groups and ranks.",
      ),
    ];
  }

  const lines = [
    ["Robust accuracy, %", (row) => estimate(row.robust)],
    ["Clean accuracy, %", (row) => estimate(row.clean)],
    ["Rank", (row) => (row.ranks ? `${row.ranks[0]}–${row.ranks[1]} ${row.letters}` : "–")],
    ["Grade", (row) => row.grade ?? "–"],
    ["Family", (row) => row.family],
    ["Year", (row) => row.year],
    ["Verified", (row) => row.badge],
    ["Time of a draw, ms", (row) => (row.ms === null ? "–" : String(row.ms))],
    ...board.attacks.map((attack, at) => [
      attack.name,
      (row) => (typeof row.attacks[at] === "string" ? row.attacks[at] : estimate(row.attacks[at])),
    ]),
  ];
  return [
    el("div", { class: "choices" }, choice("a", "First row", a), choice("b", "Second row", b)),
    place,
    el(
      "div",
      { class: "scroll", role: "region", "aria-label": "Both rows", tabindex: "0" },
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("td", {}),
            [a, b].map((row) => el("th", { scope: "col" }, el("a", { href: row.page }, row.name))),
          ),
        ),
        el(
          "tbody",
          {},
          lines.map(([label, of]) =>
            el(
              "tr",
              {},
              el("th", { scope: "row", class: "text" }, label),
              [a, b].map((row) => el("td", {}, of(row))),
            ),
          ),
        ),
      ),
    ),
  ];
};
