// The view "Images": the outcome of every image of one row under every attack.
"use strict";

purebench.outcomes = { r: "robust", m: "misclassified", e: "errored", s: "skipped" };
purebench.imagesOnPage = 50;

purebench.views.images = ({ board, rows, state, change }) => {
  const { el } = purebench;
  const row = board.rows.find((one) => one.name === state.row) ?? rows[0] ?? board.rows[0];
  const choice = el(
    "label",
    {},
    "Row ",
    el(
      "select",
      { change: (event) => change({ row: event.target.value, page: "1" }) },
      board.rows.map((one) => el("option", { value: one.name, selected: one === row }, one.name)),
    ),
  );
  const wanted = {
    all: "all images",
    right: "right on most fresh draws",
    wrong: "wrong on most fresh draws",
    errored: "errored",
  };
  const filter = el(
    "label",
    {},
    "Show ",
    el(
      "select",
      { change: (event) => change({ show: event.target.value, page: "1" }) },
      Object.entries(wanted).map(([key, label]) => el("option", { value: key, selected: key === state.show }, label)),
    ),
  );
  const place = el("div", {}, el("p", {}, "loading …"));
  purebench.load(row.data, "row").then(
    (found) => place.replaceChildren(...drawn(found)),
    (error) => place.replaceChildren(el("p", { class: "trouble" }, error.message)),
  );

  function kind(found, image) {
    const right = found.fresh[image];
    return right < 0 ? "errored" : 2 * right > found.fresh_draws ? "right" : "wrong";
  }

  function drawn(found) {
    const names = Object.keys(found.attacks);
    const pictured = purebench.pictured(row, state);
    const chosen = [...found.images.keys()].filter(
      (image) => state.show === "all" || kind(found, image) === state.show,
    );
    const [visible, buttons] = purebench.paged(chosen, purebench.imagesOnPage, Number(state.page), (page) =>
      change({ page: String(page) }),
    );
    const outcome = (name, image) => {
      const letter = found.attacks[name].outcomes[image];
      const right = found.attacks[name].right[image];
      const asked = letter === "r" || letter === "m";
      const picked = found.picked[image] === name;
      return el(
        "td",
        {
          class: `outcome is-${purebench.outcomes[letter]}${picked ? " picked" : ""}`,
          title: `${name}: ${purebench.outcomes[letter]}${picked ? "; the picked adversarial example" : ""}`,
        },
        asked ? `${right}/${found.draws}` : purebench.outcomes[letter],
      );
    };
    return [
      el(
        "div",
        { class: "scroll", role: "region", "aria-label": "Outcomes by image and attack", tabindex: "0" },
        el(
          "table",
          { class: "images" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["Image", "Label"].map((label) => el("th", { scope: "col" }, label)),
              pictured ? el("th", { scope: "col" }, purebench.pictureHeading(board)) : "",
              el("th", { scope: "col" }, "Fresh draws"),
              names.map((name) => el("th", { scope: "col" }, name)),
            ),
          ),
          el(
            "tbody",
            {},
            visible.map((image) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, String(found.images[image])),
                el("td", {}, String(found.labels[image])),
                pictured ? purebench.pictureCell(board, row, image, found.labels[image], state) : "",
                el(
                  "td",
                  {
                    class: `outcome is-${{ right: "robust", wrong: "misclassified", errored: "errored" }[kind(found, image)]}`,
                  },
                  found.fresh[image] < 0 ? "no score" : `${found.fresh[image]}/${found.fresh_draws}`,
                ),
                names.map((name) => outcome(name, image)),
              ),
            ),
          ),
        ),
      ),
      buttons,
      el(
        "p",
        { class: "legend" },
        `${chosen.length} of ${found.images.length} images (positions in the data set). `,
        "Right answers of all verification draws under each attack; the bold one was picked, and is scored on the fresh draws. ",
        purebench.pictureLegend(board, row),
      ),
      el("p", { class: "command" }, el("code", {}, row.command)),
    ];
  }
  return [el("div", { class: "choices" }, choice, filter, purebench.pictureChoice(row, state, change)), place];
};
