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

// One tab stop for each heatmap; arrow keys move in it, from block to block. Pointing, touching and
// focus show the numbers of all explanations for one word.
for (const heatmap of all(".heatmap")) {
  const readout = heatmap.querySelector(".readout");
  const blocks = all("table", heatmap);
  const names = [...blocks[0].rows].map((row) => row.cells[0].textContent);
  const rows = names.map((_, k) => blocks.flatMap((block) => all("td", block.rows[k])));
  const place = (cell) => {
    const row = cell.parentElement.rowIndex;
    return [row, rows[row].indexOf(cell)];
  };
  let marked = [];
  const show = (cell) => {
    if (!cell) return;
    const column = place(cell)[1];
    for (const each of marked) each.classList.remove("marked");
    marked = rows.map((row) => row[column]);
    for (const each of marked) each.classList.add("marked");
    const numbers = names.map((name, k) => `${name} ${marked[k].title}`);
    readout.textContent = `“${cell.textContent}”: ${numbers.join(" · ")}`;
  };
  const enter = (cell) => {
    if (!cell) return;
    for (const each of all("td[tabindex]", heatmap)) each.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  };
  if (rows[0][0]) rows[0][0].tabIndex = 0;
  heatmap.addEventListener("mouseover", (event) => show(event.target.closest("td")));
  heatmap.addEventListener("focusin", (event) => show(event.target.closest("td")));
  heatmap.addEventListener("click", (event) => enter(event.target.closest("td")));
  heatmap.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const [row, column] = place(cell);
    const next = {
      ArrowRight: rows[row][column + 1],
      ArrowLeft: rows[row][column - 1],
      ArrowDown: rows[row + 1]?.[column],
      ArrowUp: rows[row - 1]?.[column],
      Home: rows[row][0],
      End: rows[row].findLast((each) => each.checkVisibility()),
    }[event.key];
    if (next?.checkVisibility()) {
      event.preventDefault();
      enter(next);
    }
  });
}

// Paper has every word of a text, and of all else that is folded what the reader has opened: the
// tables by class and the configuration lie beside the page, as files.
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details.rest:not([open])");
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of closed) each.open = false;
});
