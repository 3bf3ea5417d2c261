"use strict";
// Sorting: a header's button sorts by that column; a second click reverses the order. Empty values stay last either way.
for (const table of document.querySelectorAll("table.ranking")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];

  const compare = (kind, column, sign) => (a, b) => {
    const [left, right] = [a.cells[column].dataset.value, b.cells[column].dataset.value];
    if (left === "" || right === "") return (left === "") - (right === "");
    return sign * (kind === "number" ? left - right : left.localeCompare(right));
  };

  const sort = (header, direction) => {
    const column = headers.indexOf(header);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...original].sort(compare(header.dataset.sort, column, sign));
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    body.append(...rows);
  };

  for (const header of headers.filter((cell) => cell.dataset.sort)) {
    const rank = header.classList.contains("rank");
    const first = header.dataset.sort === "text" || rank ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    if (rank) header.setAttribute("aria-sort", "ascending");
    header.querySelector("button").addEventListener("click", () => {
      sort(header, header.getAttribute("aria-sort") === first ? other : first);
    });
  }
}

// Marks a table that is cut off at the right, until it is scrolled to its end.
for (const box of document.querySelectorAll(".scroll")) {
  const mark = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 1);
  box.addEventListener("scroll", mark, { passive: true });
  addEventListener("resize", mark);
  mark();
}
