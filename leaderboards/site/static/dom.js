// The namespace of the site's scripts, and a helper that creates elements. Text is always set as text, never as markup.
"use strict";

const purebench = { received: {}, waiting: {} };

/** Called by the files of data: keeps the data, and hands it to whoever loads it. */
purebench.receive = (kind, data) => {
  purebench.received[kind] = data;
};

/** Returns an element: attributes by name (functions are event listeners), then children: elements, texts, or nothing. */
purebench.el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "style") made.style.cssText = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
};

/** Loads a file of data by a script element, which also works from a folder without a server. */
purebench.load = (address, kind) =>
  (purebench.waiting[address] ??= new Promise((resolve, reject) => {
    const element = purebench.el("script", { src: address });
    element.addEventListener("load", () => resolve(purebench.received[kind]));
    element.addEventListener("error", () => reject(new Error(`${address} cannot be loaded`)));
    document.head.append(element);
  }));

/**
 * Formats a fraction in percent as Python does: 0.6134 → "61.3", and 0.8125 → "81.2".
 *
 * Python rounds a tie to the even digit, and toFixed away from zero. Of the doubles only quarters tie.
 */
purebench.percent = (fraction) => {
  const value = 100 * fraction;
  return (Math.abs(value) % 1 === 0.25 ? value - 0.05 * Math.sign(value) : value).toFixed(1);
};

/** Formats an estimate [value, low, high, images]: "61.3 % [58.2, 64.4]". */
purebench.estimate = (found) =>
  found ? `${purebench.percent(found[0])} % [${purebench.percent(found[1])}, ${purebench.percent(found[2])}]` : "–";

/** Formats a p-value. */
purebench.probability = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));

/** Cuts a list into pages: returns the visible part and the buttons that turn the pages. */
purebench.paged = (list, size, page, turn) => {
  const { el } = purebench;
  const pages = Math.max(1, Math.ceil(list.length / size));
  const at = Math.min(Math.max(1, page), pages);
  const button = (label, to) =>
    el("button", { type: "button", disabled: to < 1 || to > pages, click: () => turn(to) }, label);
  const buttons =
    pages === 1
      ? ""
      : el(
          "div",
          { class: "pager" },
          button("Previous", at - 1),
          el("span", {}, `page ${at} of ${pages}`),
          button("Next", at + 1),
        );
  return [list.slice(size * (at - 1), size * at), buttons];
};
