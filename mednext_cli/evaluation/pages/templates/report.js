"use strict";

/** Sortable tables: each heading holds a button; data-v is what a cell is sorted by. */
function makeSortable(table) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  function keyOf(row, index) {
    const cell = row.cells[index], value = cell.dataset.v;
    return value === undefined ? cell.textContent : value === "" ? NaN : Number(value);
  }
  function compare(a, b) {
    if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
    return a - b;
  }
  function sortBy(index) {
    const down = heads[index].getAttribute("aria-sort") === "ascending";
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    heads[index].setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = rows.map((row) => [keyOf(row, index), row]);
    const isLast = (key) => (Number.isNaN(key) ? 1 : 0);
    keyed.sort(([a], [b]) => isLast(a) - isLast(b) || (isLast(a) ? 0 : (down ? -1 : 1) * compare(a, b)));
    body.append(...keyed.map(([, row]) => row));
  }
  heads.forEach((head, index) => head.firstElementChild?.addEventListener("click", () => sortBy(index)));
}

/** The table of cases, filtered by name, region and note. */
function makeFilter(table) {
  const rows = [...table.tBodies[0].rows], shown = document.getElementById("shown");
  const [needle, region, noted] = ["needle", "region", "noted"].map((id) => document.getElementById(id));
  function filter() {
    const text = needle.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const [name, place, note] = row.cells;
      row.hidden = !(name.textContent.toLowerCase().includes(text)
        && (!region.value || place.textContent === region.value) && (!noted.checked || note.textContent));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
  }
  for (const one of [needle, region, noted]) one.addEventListener("input", filter);
  filter();
}

/** One plane of a case: the slider shows one of its slices. */
function makeSlider(plane) {
  const slices = [...plane.querySelectorAll("svg.slice")];
  const slider = plane.querySelector("input"), output = plane.querySelector("output");
  function show() {
    slices.forEach((one, index) => one.toggleAttribute("hidden", index !== Number(slider.value)));
    output.textContent = `slice ${slices[Number(slider.value)].dataset.position}`;
  }
  slider.addEventListener("input", show);
  show(); // a browser may bring back where the slider stood
}

function makeToggle(box) {
  const toggle = () => document.body.classList.toggle(`hide-${box.dataset.shows}`, !box.checked);
  box.addEventListener("input", toggle);
  toggle();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".plane").forEach(makeSlider);
document.querySelectorAll("[data-shows]").forEach(makeToggle);
document.querySelectorAll("form").forEach((form) =>
  form.addEventListener("submit", (event) => event.preventDefault()));
const cases = document.getElementById("cases");
if (cases) makeFilter(cases);
