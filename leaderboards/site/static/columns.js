// The columns of a board's table: label, explanation, the value that sorts it, and the content of a cell.
"use strict";

(() => {
  const { el, percent, estimate } = purebench;

  const number = (found) =>
    found
      ? [el("b", {}, percent(found[0])), " ", el("small", {}, `[${percent(found[1])}, ${percent(found[2])}]`)]
      : "–";
  const share = (fraction) => `${(100 * fraction).toFixed(2)}%`;

  /** Draws the interval, the robust accuracy (dot) and the clean accuracy (ring) from 0 to 100 %. */
  const drawn = (row) => {
    if (!row.robust) return "";
    const [value, low, high] = row.robust;
    const told = `robust ${estimate(row.robust)}${row.clean ? `, clean ${estimate(row.clean)}` : ""}`;
    return el(
      "span",
      { class: "plot", role: "img", "aria-label": told },
      row.clean ? el("i", { class: "clean", style: `left:${share(row.clean[0])}` }) : "",
      el("i", { class: "whisker", style: `left:${share(low)};right:${share(1 - high)}` }),
      el("i", { class: "dot", style: `left:${share(value)}` }),
    );
  };

  const grade = (row) =>
    row.grade
      ? el(
          "span",
          { class: `grade grade-${row.grade.toLowerCase()}`, title: row.why.join("; ") || "nothing limits it" },
          el("span", { class: "hidden" }, "grade "),
          row.grade,
        )
      : "–";

  const name = (row) => [
    el("a", { href: row.page }, row.name),
    el(
      "span",
      { class: "tags" },
      el("span", { class: row.random ? "tag random" : "tag" }, row.random ? "random" : "deterministic"),
      row.complete
        ? ""
        : el("span", { class: "tag warn", title: "the other images have not been run yet" }, `${row.images} images`),
      row.warnings.length
        ? el(
            "span",
            { class: "tag warn", title: row.warnings.map((one) => one[1]).join("; ") },
            `⚠ ${[...new Set(row.warnings.map((one) => one[0]))].join(", ")}`,
          )
        : "",
    ),
  ];

  const robust = (row) => {
    if (row.robust) return number(row.robust);
    if (row.bounds)
      return [
        `${percent(row.bounds[0])}–${percent(row.bounds[1])} `,
        el("small", { class: "warn", title: row.reason }, `${row.errored} errored`),
      ];
    return el("span", { class: "warn", title: row.reason }, row.errored ? "errored" : "no attack applies");
  };

  /** Lists what others claim for a row, with attack, number of images and a link to the source. */
  const claimed = (row) =>
    row.claimed
      ? row.claimed.map((one) =>
          el(
            "span",
            { class: "claimed", title: `${one.norm} ${one.radius}, ${one.clean} % clean; ${one.cited}` },
            el("a", { href: one.url, rel: "noreferrer noopener" }, one.robust),
            " ",
            el("small", {}, `${one.attack}, ${one.images.toLocaleString("en")} images`),
          ),
        )
      : "–";

  const rank = (row) =>
    row.rank === null
      ? "–"
      : [
          row.ranks ? [...new Set(row.ranks)].join("–") : String(row.rank),
          " ",
          el(
            "span",
            { class: "letters", title: "rows that share a letter are statistically indistinguishable" },
            row.letters,
          ),
        ];

  /** The content of an attack's cell, and its value; null where there is none. */
  purebench.attackCell = (row, place) => {
    const found = row.attacks[place];
    if (typeof found === "string") return [null, el("span", { class: "none" }, found)];
    const [value, , , images, errored, spared] = found;
    const hint = `${estimate(found)}, ${images} images${errored ? `, ${errored} of them errored` : ""}${
      spared ? `; ${spared} more were broken earlier` : ""
    }`;
    return [value, el("span", { title: hint }, percent(value), errored ? el("sup", { class: "warn" }, "!") : "")];
  };

  /** Returns the columns of a board: {key, label, hint, value, cell, text, shown}. */
  purebench.columns = (board) => {
    const known = (key) => board.rows.some((row) => row[key] !== null);
    const plain = (key, label, hint, shown = false) => ({
      key,
      label,
      hint,
      shown,
      text: true,
      value: (row) => row[key],
      cell: (row) => String(row[key] ?? "–"),
    });
    const accuracy = (key, label, hint, shown) => ({
      key,
      label,
      hint,
      shown,
      value: (row) => (row[key] ? row[key][0] : null),
      cell: (row) => number(row[key]),
    });
    const measured = (key, label, hint, unit, shown = false) => ({
      key,
      label,
      hint,
      shown,
      value: (row) => row[key],
      cell: (row) => (row[key] === null ? "–" : `${row[key].toLocaleString("en")}${unit}`),
    });
    /** A measured time to three significant digits: more of them are noise. */
    const digits = (value) => {
      const rounded = Number(value.toPrecision(3));
      const places = rounded > 0 ? Math.max(0, 2 - Math.floor(Math.log10(rounded))) : 0;
      return rounded.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
    };
    return [
      {
        key: "rank",
        label: "Rank",
        shown: true,
        value: (row) => row.rank,
        cell: rank,
        hint: `rank by robust accuracy as a simultaneous ${100 * board.confidence} % interval, and the groups of rows that are indistinguishable`,
      },
      {
        key: "name",
        label: "Defense",
        shown: true,
        text: true,
        value: (row) => row.name,
        cell: name,
        hint: "name of the row",
      },
      {
        key: "grade",
        label: "Grade",
        shown: true,
        value: (row) => row.grade,
        cell: grade,
        hint: "grade of the evaluation, not of the defense: the worst of integrity, attack adequacy and precision",
      },
      {
        key: "robust",
        label: "Robust, %",
        shown: true,
        value: (row) => (row.robust ? row.robust[0] : null),
        cell: robust,
        hint: `accuracy at the picked adversarial examples: ${board.upper_bound}`,
      },
      {
        key: "plot",
        label: "0 to 100 %",
        shown: true,
        value: (row) => (row.robust ? row.robust[1] : null),
        cell: drawn,
        hint: "robust accuracy (dot) with its interval, and clean accuracy (ring); sorts by the low end of the interval",
      },
      accuracy("clean", "Clean, %", "accuracy without an attack", true),
      ...(known("certified")
        ? [accuracy("certified", "Certified, %", "proven to be right within the radius", true)]
        : []),
      ...(known("best_known")
        ? [
            accuracy(
              "best_known",
              "Best known, %",
              "robust accuracy with the attacks that are bespoke to the row; not ranked",
              true,
            ),
          ]
        : []),
      ...(known("claimed")
        ? [
            {
              key: "claimed",
              label: "Claimed, % (other protocol)",
              hint: board.claimed,
              shown: true,
              value: (row) => (row.claimed ? Number(row.claimed[0].robust) : null),
              cell: claimed,
            },
          ]
        : []),
      {
        key: "best",
        label: "P(best)",
        shown: false,
        value: (row) => row.best,
        cell: (row) => (row.best === null ? "–" : `${(100 * row.best).toFixed(0)} %`),
        hint: "probability of having the highest robust accuracy of all rows, if the images are resampled",
      },
      plain("strongest", "Strongest attack", "the attack of the common suite with the lowest accuracy", true),
      {
        key: "verified",
        label: "Verified",
        shown: true,
        text: true,
        value: (row) => row.verified,
        cell: (row) => row.badge,
        hint: "whether a verification of the result is recorded, and its verdict",
      },
      {
        ...measured("ms", "Time of a draw", "milliseconds to answer one image once, on the device of the row", "", true),
        cell: (row) => (row.ms === null ? "–" : `${digits(row.ms)} ms`),
      },
      measured("passes", "Passes per image", "cost of the evaluation: forwards + 2 × backwards, per image"),
      plain("family", "Family", "kind of the defense", true),
      plain("year", "Year", "year of the paper", true),
      plain("venue", "Venue", "where the paper was published"),
      plain("paper", "Paper", "the paper of the defense"),
      plain(
        "gradient",
        "Gradient",
        "exact: it passes through the purifier; zero: it is zero almost everywhere; none: it cannot pass",
      ),
      plain("extra", "Extra data", "whether it was trained on data beyond the training set"),
      plain("licence", "Licence", "licence of code and weights"),
      measured("parameters", "Parameters", "number of parameters", ""),
      measured("images", "Images", "number of evaluated images", ""),
      ...board.attacks.map((attack, place) => ({
        key: `attack-${attack.name}`,
        label: attack.name,
        shown: false,
        hint: `accuracy under ${attack.spec}, gradient ${attack.gradient}, EOT ${attack.eot}`,
        value: (row) => purebench.attackCell(row, place)[0],
        cell: (row) => purebench.attackCell(row, place)[1],
      })),
      plain("device", "Device", "where the result was computed"),
      plain("version", "purebench", "version of purebench that computed the result"),
      {
        key: "command",
        label: "Reproduce",
        hint: "the command that repeats the evaluation",
        shown: false,
        text: true,
        value: (row) => row.command,
        cell: (row) => el("code", {}, row.command),
      },
    ];
  };
})();
