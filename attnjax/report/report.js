const all = (selector, within = document) => [...within.querySelectorAll(selector)];

const field = document.getElementById("filter");
if (field) {
  const examples = all(".example");
  const shown = document.getElementById("shown");
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    let count = 0;
    for (const each of examples) {
      each.hidden = !each.dataset.text.includes(wanted);
      count += each.hidden ? 0 : 1;
    }
    for (const group of all(".group")) {
      group.hidden = all(".example", group).every((each) => each.hidden);
    }
    shown.textContent = wanted ? `${count} of ${examples.length}` : "";
  });
}

// One tab stop for each heatmap; arrow keys move in it. Pointing, touching and focus show the numbers
// of all explanations for one word.
for (const table of all("table.heat")) {
  const readout = table.parentElement.nextElementSibling;
  const rows = [...table.rows];
  let marked = [];
  const show = (cell) => {
    if (!cell || cell.tagName !== "TD") return;
    for (const each of marked) each.classList.remove("marked");
    marked = rows.map((row) => row.cells[cell.cellIndex]);
    for (const each of marked) each.classList.add("marked");
    const numbers = rows.map((row, k) => `${row.cells[0].textContent} ${marked[k].title}`);
    readout.textContent = `“${cell.textContent}”: ${numbers.join(" · ")}`;
  };
  const enter = (cell) => {
    if (!cell || cell.tagName !== "TD") return;
    for (const each of all("td[tabindex]", table)) each.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  };
  const first = table.querySelector("td");
  if (first) first.tabIndex = 0;
  table.addEventListener("mouseover", (event) => show(event.target.closest("td")));
  table.addEventListener("focusin", (event) => show(event.target.closest("td")));
  table.addEventListener("click", (event) => enter(event.target.closest("td")));
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const row = cell.parentElement;
    const next = {
      ArrowRight: cell.nextElementSibling,
      ArrowLeft: cell.previousElementSibling,
      ArrowDown: row.nextElementSibling?.cells[cell.cellIndex],
      ArrowUp: row.previousElementSibling?.cells[cell.cellIndex],
      Home: row.cells[1],
      End: row.cells[row.cells.length - 1],
    }[event.key];
    if (next) {
      event.preventDefault();
      enter(next);
    }
  });
}

// Paper has no summaries to open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of closed) each.open = false;
});
