// The view "Scatter": robust accuracy against clean accuracy, cost or year, with intervals. Drawn by Observable Plot.
"use strict";

purebench.axes = {
  clean: {
    label: "clean accuracy, %",
    of: (row) => row.clean && 100 * row.clean[0],
    ends: (row) => [1, 2].map((end) => 100 * row.clean[end]),
  },
  ms: { label: "time of a draw, ms (log)", of: (row) => row.ms, log: true },
  passes: { label: "cost of the evaluation, passes per image (log)", of: (row) => row.passes, log: true },
  year: { label: "year of the paper", of: (row) => (/^\d+$/.test(row.year) ? Number(row.year) : null), format: "d" },
};

purebench.views.scatter = ({ board, rows, state, change }) => {
  const { el, estimate } = purebench;
  const axis = purebench.axes[state.x] ?? purebench.axes.clean;
  const usable = (value) => value !== null && value !== undefined && (!axis.log || value > 0);
  const points = rows.filter((row) => row.robust && usable(axis.of(row)));
  const choice = el(
    "label",
    {},
    "Against ",
    el(
      "select",
      { change: (event) => change({ x: event.target.value }) },
      Object.entries(purebench.axes).map(([key, one]) =>
        el("option", { value: key, selected: one === axis }, one.label),
      ),
    ),
  );
  const left = rows.length - points.length;
  const told = `${points.length} rows${left ? `; ${left} have no robust accuracy or no value on this axis` : ""}. Click a point for its defense; the view Table has all numbers.`;
  if (!points.length) return [choice, el("p", { class: "legend" }, told)];
  const at = { y: (row) => 100 * row.robust[0], x: axis.of };
  const width = Math.max(320, Math.min(1100, document.getElementById("view").clientWidth - 4));
  const chart = Plot.plot({
    width,
    height: Math.min(520, Math.max(360, width * 0.5)),
    grid: true,
    marginTop: 34,
    marginLeft: 48,
    marginBottom: 44,
    style: { background: "transparent", fontSize: "13px", overflow: "visible" },
    ariaLabel: `Robust accuracy against ${axis.label}`,
    x: {
      type: axis.log ? "log" : "linear",
      label: `${axis.label} →`,
      tickFormat: axis.log ? "~g" : axis.format,
      nice: true,
      insetLeft: 8,
      insetRight: 8,
    },
    y: { label: "↑ robust accuracy, %", domain: [0, 100] },
    symbol: { domain: ["deterministic", "random"] },
    color: { legend: true, scheme: "Observable10" },
    marks: [
      Plot.ruleX(points, {
        x: at.x,
        y1: (row) => 100 * row.robust[1],
        y2: (row) => 100 * row.robust[2],
        stroke: "family",
        strokeOpacity: 0.45,
      }),
      axis.ends
        ? Plot.ruleY(points, {
            y: at.y,
            x1: (row) => axis.ends(row)[0],
            x2: (row) => axis.ends(row)[1],
            stroke: "family",
            strokeOpacity: 0.45,
          })
        : null,
      Plot.dot(points, {
        ...at,
        fill: "family",
        stroke: "var(--card)",
        r: 4.5,
        className: "points",
        tip: { fill: "var(--card)" },
        title: (row) =>
          `${row.name}\nrobust ${estimate(row.robust)}\nclean ${estimate(row.clean)}\n${row.random ? "random" : "deterministic"}, grade ${row.grade ?? "–"}, ${row.images} images, ${row.badge}`,
      }),
    ],
  });
  // the labels of Plot's groups are for nobody: the whole drawing has one, and the table has the numbers
  const drawing = chart.matches("svg") ? chart : chart.querySelector("svg[aria-label]");
  for (const group of drawing.querySelectorAll("[aria-label]")) group.removeAttribute("aria-label");
  drawing.setAttribute("role", "img");
  chart.addEventListener("click", () => {
    if (chart.value) location.href = chart.value.page;
  });
  return [choice, el("figure", { class: "scatter" }, chart, el("figcaption", { class: "legend" }, told))];
};
