// The view "Table": rows with the chosen columns, sorted by a click on a heading; two ticked rows can be compared.
"use strict";

purebench.pageSize = 50;

purebench.views ??= {};
purebench.views.table = ({ board, rows, columns, state, change, picked }) => {
  const { el } = purebench;
  const shown = purebench.shownColumns(columns, state);
  const [sortKey, down] = [state.sort.replace(/^-/, ""), state.sort.startsWith("-")];
  // a first click shows the largest numbers first, and texts and ranks from the start
  const rising = (column) => column.text || column.key === "rank" || column.key === "grade";
  const header = (column) =>
    el(
      "th",
      {
        scope: "col",
        class: column.text ? "text" : null,
        title: column.hint,
        "aria-sort": column.key === sortKey ? (down ? "descending" : "ascending") : null,
      },
      el(
        "button",
        {
          type: "button",
          "data-key": column.key,
          click: () => {
            const first = rising(column) ? column.key : `-${column.key}`;
            const second = rising(column) ? `-${column.key}` : column.key;
            change({ sort: state.sort === first ? second : first, page: "1" });
          },
        },
        column.label,
      ),
    );
  const [visible, buttons] = purebench.paged(rows, purebench.pageSize, Number(state.page), (page) =>
    change({ page: String(page) }),
  );
  const line = (row) =>
    el(
      "tr",
      { class: row.rank === null ? "unranked" : null },
      el(
        "td",
        { class: "pick" },
        el("input", {
          type: "checkbox",
          "aria-label": `compare ${row.name}`,
          checked: picked.includes(row.name),
          change: (event) => purebench.pick(row.name, event.target.checked),
        }),
      ),
      shown.map((column) =>
        column.key === "name"
          ? el("th", { scope: "row", class: "text name" }, column.cell(row))
          : el("td", { class: column.text ? "text" : null }, column.cell(row)),
      ),
    );
  return [
    el(
      "div",
      { class: "scroll", role: "region", "aria-label": "Table of the rows", tabindex: "0" },
      el(
        "table",
        { class: "ranking" },
        el(
          "thead",
          {},
          el("tr", {}, el("td", { class: "pick" }, el("span", { class: "hidden" }, "Compare")), shown.map(header)),
        ),
        el("tbody", {}, visible.map(line)),
      ),
    ),
    buttons,
    el(
      "p",
      { class: "legend" },
      `Robust accuracy is ${board.upper_bound}. A–F: grade of the evaluation, not of the defense. ● robust accuracy with its `,
      `${100 * board.confidence} % interval, ○ clean accuracy. Rows that share a letter are statistically indistinguishable. `,
      "Tick two rows, or choose them under Compare, to compare them.",
    ),
    board.rows.some((row) => row.claimed) ? el("p", { class: "legend" }, board.claimed) : "",
    ...board.notes.map((told) => el("p", { class: "legend" }, told)),
  ];
};
