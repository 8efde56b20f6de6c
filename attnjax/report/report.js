const field = document.getElementById("filter");
if (field) {
  const examples = [...document.querySelectorAll(".example")];
  const shown = document.getElementById("shown");
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    let count = 0;
    for (const each of examples) {
      each.hidden = !each.dataset.text.includes(wanted);
      count += each.hidden ? 0 : 1;
    }
    shown.textContent = wanted ? `${count} of ${examples.length}` : "";
  });
}
