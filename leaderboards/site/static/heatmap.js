// The view "Attacks": the accuracy of each row under each attack, as a heat map.
"use strict";

purebench.views.attacks = ({ board, rows, state, change }) => {
  const { el } = purebench;
  const [visible, buttons] = purebench.paged(rows, purebench.pageSize, Number(state.page), (page) =>
    change({ page: String(page) }),
  );
  const cell = (row, attack, place) => {
    const [value, content] = purebench.attackCell(row, place);
    if (value === null) return el("td", {}, content);
    return el(
      "td",
      {
        class: attack.name === row.strongest ? "heat strongest" : "heat",
        style: `--share:${(100 * value).toFixed(1)}%`,
      },
      content,
    );
  };
  return [
    el(
      "div",
      { class: "scroll", role: "region", "aria-label": "Accuracy under each attack", tabindex: "0" },
      el(
        "table",
        { class: "heatmap" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col", class: "text" }, "Defense"),
            el("th", { scope: "col" }, "Robust, %"),
            board.attacks.map((attack) =>
              el(
                "th",
                {
                  scope: "col",
                  title: `${attack.spec}, gradient ${attack.gradient}, EOT ${attack.eot}${
                    attack.rows.length ? `; bespoke to ${attack.rows.join(", ")}` : ""
                  }`,
                },
                attack.name,
              ),
            ),
          ),
        ),
        el(
          "tbody",
          {},
          visible.map((row) =>
            el(
              "tr",
              {},
              el("th", { scope: "row", class: "text name" }, el("a", { href: row.page }, row.name)),
              el("td", {}, el("b", {}, row.robust ? purebench.percent(row.robust[0]) : "–")),
              board.attacks.map((attack, place) => cell(row, attack, place)),
            ),
          ),
        ),
      ),
    ),
    buttons,
    el(
      "p",
      { class: "legend" },
      "Accuracy under each attack alone, in percent; point at a number for its interval. Underlined: the strongest attack. ",
      board.cascade
        ? "Cascade: an attack is run on the images that the earlier ones did not break, so the numbers of single attacks are conditional. "
        : "",
      "! : some images errored, which never count as robust. n/a: the attack does not apply.",
    ),
  ];
};
