// Search and facets: which rows of a board are shown.
"use strict";

purebench.facets = [
  { key: "family", label: "Family", of: (row) => row.family },
  { key: "answers", label: "Answers", of: (row) => (row.random ? "random" : "deterministic") },
  { key: "gradient", label: "Gradient", of: (row) => row.gradient },
  { key: "extra", label: "Extra data", of: (row) => row.extra },
  { key: "year", label: "Year", of: (row) => row.year },
  { key: "grade", label: "Grade", of: (row) => row.grade ?? "none" },
  { key: "licence", label: "Licence", of: (row) => row.licence },
  { key: "verified", label: "Verified", of: (row) => row.verified },
];

/** Returns the rows that contain every searched word and match the facets: any value of each facet. */
purebench.filtered = (rows, state) => {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = purebench.facets.filter(({ key }) => state.facets[key]?.length);
  return rows.filter((row) => {
    row.searched ??= [row.name, row.spec, row.family, row.paper, row.venue, row.strongest].join(" ").toLowerCase();
    return (
      words.every((word) => row.searched.includes(word)) &&
      chosen.every(({ key, of }) => state.facets[key].includes(of(row)))
    );
  });
};

/** Returns the rows sorted by a column ("-robust" is descending); rows without a value come last, ties keep their order. */
purebench.sorted = (rows, columns, sort) => {
  const key = sort.replace(/^-/, "");
  const column = columns.find((one) => one.key === key);
  if (!column) return rows;
  const sign = sort.startsWith("-") ? -1 : 1;
  const keyed = rows.map((row, place) => ({ row, place, value: column.value(row) }));
  const missing = (value) => value === null || value === undefined || value === "";
  keyed.sort((a, b) => {
    if (missing(a.value) || missing(b.value)) return missing(a.value) - missing(b.value) || a.place - b.place;
    if (a.value === b.value) return a.place - b.place;
    return sign * (a.value < b.value ? -1 : 1);
  });
  return keyed.map(({ row }) => row);
};

/** Draws the search field, the facets and the column chooser; `change` gets the changed part of the state. */
purebench.drawFilters = (board, columns, state, change) => {
  const { el } = purebench;
  const search = el("input", {
    type: "search",
    id: "search",
    value: state.q,
    placeholder: "Search names, families, papers",
    input: (event) => change({ q: event.target.value, page: "1" }, true),
  });
  const box = (label, checked, toggle, count) =>
    el(
      "label",
      {},
      el("input", { type: "checkbox", checked, change: (event) => toggle(event.target.checked) }),
      ` ${label}`,
      count === undefined ? "" : el("small", {}, ` ${count}`),
    );
  const menu = (label, active, boxes) =>
    el(
      "details",
      { class: "facet" },
      el("summary", {}, label, active ? el("span", { class: "count" }, ` ${active}`) : ""),
      el("fieldset", {}, el("legend", { class: "hidden" }, label), ...boxes),
    );
  const facets = purebench.facets.map(({ key, label, of }) => {
    const counts = new Map();
    for (const row of board.rows) counts.set(of(row), (counts.get(of(row)) ?? 0) + 1);
    if (counts.size < 2) return "";
    const chosen = state.facets[key] ?? [];
    return menu(
      label,
      chosen.length,
      [...counts]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([value, count]) =>
          box(
            value,
            chosen.includes(value),
            (on) => {
              const now = purebench.current().facets[key] ?? [];
              const next = on ? [...now, value] : now.filter((one) => one !== value);
              change({ facets: { ...purebench.current().facets, [key]: next }, page: "1" });
            },
            count,
          ),
        ),
    );
  });
  const shown = new Set(purebench.shownColumns(columns, state).map(({ key }) => key));
  const chooser = menu(
    "Columns",
    0,
    columns.map(({ key, label }) =>
      box(label, shown.has(key), (on) => {
        if (on) shown.add(key);
        else shown.delete(key);
        change({
          cols: columns
            .map((one) => one.key)
            .filter((one) => shown.has(one))
            .join(" "),
        });
      }),
    ),
  );
  return [
    el("label", { for: "search", class: "hidden" }, "Search"),
    search,
    ...facets,
    chooser,
    el("button", { type: "button", class: "clear", click: () => change({ q: "", facets: {}, page: "1" }) }, "Clear"),
  ];
};

/** Returns the columns that a state shows: those it names, else the default ones. */
purebench.shownColumns = (columns, state) => {
  const named = state.cols.split(" ").filter(Boolean);
  return columns.filter((one) => (named.length ? named.includes(one.key) : one.shown));
};
