// The page of a board: draws the view that the address names, and keeps the address that of the view.
"use strict";

(() => {
  const { el, state: address } = purebench;
  const board = purebench.received.board;
  const columns = purebench.columns(board);
  const names = {
    table: "Table",
    scatter: "Scatter",
    ranks: "Ranks",
    attacks: "Attacks",
    images: "Images",
    compare: "Compare",
  };
  const [tabs, filters, status, view] = ["views", "filters", "status", "view"].map((id) => document.getElementById(id));
  let state = address.read(location.hash);
  let picked = [];

  purebench.current = () => state;

  /** Returns the number of visible rows and their badges: "3 of 9 rows: 2 unverified, 1 verified". */
  function told(rows) {
    const counts = new Map();
    for (const { verified } of rows) counts.set(verified, (counts.get(verified) ?? 0) + 1);
    const badges = [...counts].sort().map(([badge, count]) => `${count} ${badge}`);
    const all = board.rows.length;
    const found = rows.length === all ? `${all} ${all === 1 ? "row" : "rows"}` : `${rows.length} of ${all} rows`;
    return badges.length ? `${found}: ${badges.join("; ")}` : found;
  }

  /** Changes a part of the state, its address and the page; while typing, the address replaces the last one. */
  function change(part, typing = false) {
    state = { ...state, ...part };
    for (const [key, chosen] of Object.entries(state.facets)) if (!chosen.length) delete state.facets[key];
    const hash = address.write(state) || location.pathname.split("/").pop();
    history[typing ? "replaceState" : "pushState"](null, "", hash);
    draw("facets" in part || "cols" in part);
  }

  /** Ticks a row in the table; the second one makes it a comparison. */
  purebench.pick = (name, on) => {
    picked = on ? [...picked, name] : picked.filter((one) => one !== name);
    if (picked.length === 2) {
      const [a, b] = picked;
      picked = [];
      change({ view: "compare", a, b });
    }
  };

  function drawTabs() {
    tabs.replaceChildren(
      ...Object.entries(names).map(([key, label]) => {
        const on = key === state.view;
        return el(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${key}`,
            "aria-selected": String(on),
            "aria-controls": "view",
            tabindex: on ? "0" : "-1",
            click: () => change({ view: key, page: "1" }),
            keydown: turn,
          },
          label,
        );
      }),
    );
    view.setAttribute("aria-labelledby", `tab-${state.view}`);
  }

  /** Arrow keys move between the tabs, as in any list of tabs. */
  function turn(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const keys = Object.keys(names);
    change({ view: keys[(keys.indexOf(state.view) + step + keys.length) % keys.length], page: "1" });
    document.getElementById(`tab-${state.view}`).focus();
  }

  /** Draws the view, and the filters if they changed; these stay while a box in them has the focus. */
  function draw(filtersChanged = true) {
    if (!names[state.view]) state.view = "table";
    drawTabs();
    const ticking = document.activeElement?.type === "checkbox" && filters.contains(document.activeElement);
    if (filtersChanged && !ticking) filters.replaceChildren(...purebench.drawFilters(board, columns, state, change));
    filters.hidden = status.hidden = state.view === "images" || state.view === "compare"; // these show chosen rows
    const rows = purebench.sorted(purebench.filtered(board.rows, state), columns, state.sort);
    status.textContent = told(rows);
    const focused = document.activeElement?.dataset?.key;
    const drawn = purebench.views[state.view]({ board, rows, columns, state, change, picked });
    view.replaceChildren(...drawn.filter((one) => one !== ""));
    if (focused) view.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }
  addEventListener("popstate", () => {
    state = address.read(location.hash);
    document.activeElement?.blur();
    draw();
  });
  addEventListener("hashchange", () => {
    const next = address.read(location.hash);
    if (address.write(next) === address.write(state)) return;
    state = next;
    draw();
  });
  const reproduce = document.getElementById("reproduce");
  reproduce.addEventListener("click", () => {
    const shown = document.getElementById("reproduction");
    shown.hidden = !shown.hidden;
    reproduce.setAttribute("aria-expanded", String(!shown.hidden));
  });
  draw();
})();
