// The view "Ranks": the interval of each rank as a bar, and the groups of indistinguishable rows as columns of dots.
"use strict";

purebench.views.ranks = ({ board, rows, state, change }) => {
  const { el } = purebench;
  const ranked = rows.filter((row) => row.ranks);
  const most = Math.max(...board.rows.filter((row) => row.ranks).map((row) => row.ranks[1]), 1);
  // letters are a … z, A … Z, then (53), (54)
  const groups = (row) => row.letters.match(/\(\d+\)|./gu) ?? [];
  const all = [...new Set(board.rows.flatMap(groups))];
  const drawn = all.length <= 26;
  const [visible, buttons] = purebench.paged(ranked, purebench.pageSize, Number(state.page), (page) =>
    change({ page: String(page) }),
  );
  const share = (rank) => `${((100 * rank) / most).toFixed(2)}%`;
  const line = (row) => {
    const [low, high] = row.ranks;
    const own = new Set(groups(row));
    return el(
      "tr",
      {},
      el("th", { scope: "row", class: "text name" }, el("a", { href: row.page }, row.name)),
      el("td", {}, low === high ? `${low}` : `${low}–${high}`),
      el(
        "td",
        { class: "bars" },
        el(
          "span",
          { class: "rankbar", role: "img", "aria-label": `rank ${low} to ${high} of ${most}` },
          el("i", { style: `left:${share(low - 1)};right:${share(most - high)}` }),
        ),
      ),
      drawn
        ? all.map((letter) => el("td", { class: "group" }, own.has(letter) ? letter : ""))
        : el("td", { class: "text" }, row.letters),
    );
  };
  return [
    el(
      "div",
      { class: "scroll", role: "region", "aria-label": "Intervals of the ranks", tabindex: "0" },
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col", class: "text" }, "Defense"),
            el("th", { scope: "col" }, "Rank"),
            el("th", { scope: "col", class: "text" }, `1 to ${most}`),
            el("th", { scope: "colgroup", colspan: drawn ? all.length : 1, class: "text" }, "Groups"),
          ),
        ),
        el("tbody", {}, visible.map(line)),
      ),
    ),
    buttons,
    el(
      "p",
      { class: "legend" },
      `All ranks lie in their intervals at once, at ${100 * board.confidence} % confidence. `,
      "Each letter is a group of rows of which no two are statistically distinguishable.",
    ),
    board.ranks_text && el("p", { class: "legend" }, board.ranks_text),
  ];
};
