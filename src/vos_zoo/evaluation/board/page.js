"use strict";
(() => {
  const rows = [...document.querySelectorAll("tbody tr")];
  const search = document.getElementById("search");
  const boxes = [...document.querySelectorAll("input[name=method]")];
  const theirs = document.getElementById("theirs");
  const count = document.getElementById("count");
  const pointsOf = (row) => [...document.querySelectorAll(`.point[data-row="${row.id}"]`)];

  // The key of a cell: a number where the cell names one, else its text. What is missing goes last, both ways.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!("sort" in cell.dataset)) return cell.textContent.trim().toLowerCase();
    return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en"));

  for (const head of document.querySelectorAll("th")) {
    head.querySelector("button").addEventListener("click", () => {
      const table = head.closest("table");
      const column = head.cellIndex;
      const first = head.classList.contains("n") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const sibling of table.tHead.rows[0].cells) sibling.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const sorted = [...table.tBodies[0].rows].sort((one, two) => {
        const [a, b] = [key(one, column), key(two, column)];
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * compare(a, b);
      });
      table.tBodies[0].append(...sorted);
    });
  }

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const published = row.classList.contains("theirs");
      const visible =
        chosen.has(row.dataset.method) && (theirs.checked || !published) && words.every((word) => text.includes(word));
      row.hidden = !visible;
      for (const point of pointsOf(row)) point.toggleAttribute("hidden", !visible);
      shown += visible ? 1 : 0;
    }
    for (const section of document.querySelectorAll("section")) {
      section.querySelector(".none").hidden = Boolean(section.querySelector("tbody tr:not([hidden])"));
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  for (const control of [search, theirs, ...boxes]) control.addEventListener("input", filter);

  for (const row of rows) {
    const all = [row, ...pointsOf(row)];
    if (all.length === 1) continue;
    for (const one of all) {
      one.addEventListener("mouseenter", () => all.forEach((each) => each.classList.add("on")));
      one.addEventListener("mouseleave", () => all.forEach((each) => each.classList.remove("on")));
    }
  }
  filter();
})();
