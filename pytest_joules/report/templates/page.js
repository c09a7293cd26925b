"use strict";
// Sorts and filters the table; without it the table is as the run left it.
(() => {
  const most = 500; // rows that are laid out, until all are asked for
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row, place) => ({ row, place, name: row.cells[0].textContent.toLowerCase() }));
  const heads = Array.from(table.tHead.rows[0].cells);
  const form = document.getElementById("filter");
  const words = document.getElementById("words");
  const verdict = document.getElementById("verdict");
  const count = document.getElementById("count");
  const all = document.getElementById("all");
  const texts = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const keys = new Map();

  const keysOf = (column) => {
    if (!keys.has(column)) {
      const found = [];
      for (const one of rows) {
        const cell = one.row.cells[column];
        const plain = cell.className === "n" ? Number(cell.textContent) : cell.textContent;
        found[one.place] = cell.dataset.v === undefined ? plain : Number(cell.dataset.v);
      }
      keys.set(column, found);
    }
    return keys.get(column);
  };
  const show = () => {
    const wanted = words.value.toLowerCase();
    const told = verdict ? verdict.value : "";
    const room = all.dataset.asked ? rows.length : most;
    const fitting = rows.filter((one) => one.name.includes(wanted) && (told === "" || one.row.dataset.w === told));
    const shown = fitting.slice(0, room);
    body.replaceChildren(...shown.map((one) => one.row));
    count.textContent = shown.length < fitting.length ? `${shown.length} of ${fitting.length} shown` : `${fitting.length} of ${rows.length}`;
    all.hidden = shown.length === fitting.length;
  };
  const sort = (column) => {
    const head = heads[column];
    const values = keysOf(column);
    const numbers = values.some((value) => typeof value === "number");
    const [first, other] = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
    const order = head.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const known = numbers ? (value) => typeof value === "number" : (value) => value !== "";
    const compare = numbers ? (a, b) => a - b : texts;
    rows.sort((one, two) => {
      const [a, b] = [values[one.place], values[two.place]];
      // What is not known comes last, whichever way it is sorted.
      if (!known(a) || !known(b)) return known(b) - known(a);
      return sign * compare(a, b);
    });
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    show();
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(column));
    head.replaceChildren(button);
  });
  all.addEventListener("click", () => {
    all.dataset.asked = "1";
    show();
  });
  addEventListener("beforeprint", () => all.click());
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
