// A sweep's report: the dashboard's plots over data that stands in the page, and tables that sort themselves.
import { offline } from "./charts.js";
import { start as curves } from "./curves.js";
import { start as parallel } from "./parallel.js";
import { start as scatter } from "./scatter.js";
import { start as timeline } from "./timeline.js";

const data = JSON.parse(document.getElementById("ork-data").textContent);

function pick(columns, rows) {
  return columns.map((one) => (one.codes ? { ...one, codes: rows.map((row) => one.codes[row]) } : { ...one, values: rows.map((row) => one.values[row]) }));
}

const valueAt = (column, row) => (column.codes ? (column.codes[row] < 0 ? null : column.codes[row]) : column.values[row]);

const ANSWERS = {
  curves(asked) {
    const found = data.curves[asked.get("metric")] ?? Object.values(data.curves)[0];
    return { ...found, series: found.series.slice(0, Number(asked.get("top") ?? 10)) };
  },
  parallel() {
    const objective = data.columns.objective;
    const rows = data.names.map((_, row) => row).filter((row) => typeof objective.values[row] === "number");
    const columns = pick([...data.parallel.map((key) => data.columns[key]), objective], rows);
    return { names: rows.map((row) => data.names[row]), columns, minimize: data.minimize, empty: data.empty };
  },
  scatter(asked) {
    const form = document.querySelector("[data-widget=scatter] form").elements;
    const x = data.columns[asked.get("sx") ?? form.sx.value];
    const y = data.columns[asked.get("sy") ?? form.sy.value];
    const rows = data.names.map((_, row) => row).filter((row) => valueAt(x, row) !== null && valueAt(y, row) !== null);
    return { names: rows.map((row) => data.names[row]), columns: pick([x, y, data.columns.objective], rows), minimize: data.minimize, empty: data.empty };
  },
  timeline: () => data.timeline,
};
offline((url) => ANSWERS[url.pathname.split("/").at(-1)](url.searchParams));

const WIDGETS = { curves, parallel, scatter, timeline };
for (const root of document.querySelectorAll("[data-widget]")) WIDGETS[root.dataset.widget](root).catch((error) => console.error(error));

// --- tables ---

const keyOf = (cell) => cell.dataset.v ?? cell.textContent.trim();

for (const table of document.querySelectorAll("table[data-sortable]")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const one of head.parentNode.cells) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const at = head.cellIndex;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[at]) }));
    // Numbers before texts; what is missing last, whichever direction.
    rows.sort((a, b) => {
      const missing = Number(a.key === "–") - Number(b.key === "–");
      if (missing) return missing;
      const [x, y] = [Number(a.key), Number(b.key)];
      const order = Number.isNaN(x) || Number.isNaN(y) ? a.key.localeCompare(b.key) : x - y;
      return down ? -order : order;
    });
    body.append(...rows.map((one) => one.row));
  });
}

// The parallel coordinates' brush: the tables show the same runs.
document.addEventListener("ork:brushed", (event) => {
  const names = event.detail && new Set(event.detail);
  for (const row of document.querySelectorAll("tr[data-run]")) row.hidden = Boolean(names && !names.has(row.dataset.run));
  document.querySelector("[data-brushed]").textContent = names ? `${names.size} of ${data.names.length} runs pass the brush` : "";
});
