// The state of a board's page, which is its address: the part after # restores every view.
"use strict";

purebench.state = {
  /** The keys that hold one text, with their defaults, which are left out of the address. */
  defaults: {
    view: "table",
    q: "",
    sort: "rank",
    page: "1",
    cols: "",
    x: "clean",
    row: "",
    a: "",
    b: "",
    show: "all",
    pics: "small",
  },

  /** Reads a hash: {view, q, …, facets: {family: ["vae"]}}; unknown keys are ignored. */
  read(hash) {
    const given = new URLSearchParams(hash.replace(/^#/, ""));
    const state = { facets: {} };
    for (const [key, value] of Object.entries(this.defaults)) state[key] = given.get(key) ?? value;
    for (const { key } of purebench.facets) {
      const chosen = given.getAll(key);
      if (chosen.length) state.facets[key] = chosen;
    }
    return state;
  },

  /** Returns the hash of a state; "" for the state that a page starts with. */
  write(state) {
    const told = new URLSearchParams();
    for (const [key, value] of Object.entries(this.defaults)) if (state[key] !== value) told.set(key, state[key]);
    for (const [key, chosen] of Object.entries(state.facets)) for (const one of chosen) told.append(key, one);
    return told.size ? `#${told}` : "";
  },
};
