// Parallel coordinates: the best runs in colour over the faint rest. A brush on an axis filters the leaderboard.
import { Chart, exports, number, plain, plot, query, setQuery, source, theme, tooltip } from "./charts.js";

const STATE = ["filter"];
const BEST = 60; // runs in colour
const SPREAD = 0.34; // of a category's own room, to both sides

// The same shift for the same run on every draw: a run does not jump when something else changes.
function jitter(index, salt) {
  let hash = (index + 1) * 2654435761 + salt * 40503;
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
  hash = Math.imul(hash ^ (hash >>> 13), 3266489909);
  return ((hash ^ (hash >>> 16)) >>> 0) / 4294967296 - 0.5;
}

function scaleOf(column) {
  const values = column.values.filter((value) => typeof value === "number");
  const low = Math.min(...values.slice(0, 1), values.reduce((a, b) => Math.min(a, b), Infinity));
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  return { low, high, log: column.log ?? (low > 0 && high / low >= 100) };
}

// A column as positions on a linear axis, with what its labels and brushes say.
function axisOf(column, at) {
  if (column.codes) {
    const count = column.texts.length;
    const ties = column.codes.length > 3 * count;
    return {
      ...column,
      positions: column.codes.map((code, row) => (code < 0 ? null : code + (ties ? 2 * SPREAD * jitter(row, at) : 0))),
      min: -0.5,
      max: count - 0.5,
      ticks: column.texts.map((_, code) => code),
      tick: (value) => plain(column.texts[Math.round(value)] ?? ""),
      condition: (low, high) => {
        const chosen = column.texts.map((_, code) => code).filter((code) => code + SPREAD >= low && code - SPREAD <= high);
        if (!chosen.length || chosen.length === count) return null;
        return `${column.key} in [${chosen.map((code) => JSON.stringify(column.raw[code])).join(", ")}]`;
      },
    };
  }
  const { low, high, log } = scaleOf(column);
  const to = log ? Math.log10 : (value) => value;
  const from = log ? (value) => 10 ** value : (value) => value;
  const pad = (to(high) - to(low)) * 0.02 || 0.5;
  return {
    ...column,
    positions: column.values.map((value) => (typeof value === "number" ? to(value) : null)),
    min: to(low) - pad,
    max: to(high) + pad,
    ticks: log ? decades(low, high) : undefined,
    tick: (value) => number(from(value), 3),
    condition: (a, b) => {
      const parts = [];
      if (a > to(low)) parts.push(`${column.key} >= ${Number(from(a).toPrecision(6))}`);
      if (b < to(high)) parts.push(`${column.key} <= ${Number(from(b).toPrecision(6))}`);
      return parts.length ? parts.join(" and ") : null;
    },
  };
}

// Positions of the powers of ten, and of both ends where there are fewer than two.
function decades(low, high) {
  const found = [];
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) found.push(power);
  return found.length > 1 ? found : [Math.log10(low), Math.log10(high)];
}

export function start(root) {
  const element = root.querySelector(".plot");
  const chart = new Chart(element);
  const clear = root.querySelector("[data-clear]");
  let axes = [];
  let names = [];
  let areas = []; // what is brushed: [dimension, intervals]
  let bound = false;

  function render(data) {
    const colours = theme();
    if (data.columns.length < 2 || data.names.length < 2) {
      chart.empty(data.empty.title, data.empty.text);
      return;
    }
    axes = data.columns.map(axisOf);
    names = data.names;
    const rows = data.names.map((_, row) => axes.map((one) => one.positions[row]));
    const objective = data.columns.at(-1);
    const order = data.names.map((_, row) => row).filter((row) => typeof objective.values[row] === "number");
    order.sort((a, b) => (objective.values[a] - objective.values[b]) * (data.minimize ? 1 : -1));
    const best = new Set(order.slice(0, Math.min(BEST, Math.max(5, Math.ceil(order.length / 5)))));
    const ranked = [...best].reverse(); // the very best is drawn last, on top
    const values = ranked.map((row) => objective.values[row]);
    const faint = Math.max(0.01, Math.min(0.35, 90 / data.names.length));
    chart.draw({
      tooltip: {
        ...tooltip(colours),
        formatter: (item) => [plain(data.names[item.data.row ?? 0]), ...data.columns.map((column) => `${plain(column.label)}  ${plain(text(column, item.data.row))}`)].join("\n"),
      },
      parallel: { left: 48, right: 60, top: 48, bottom: 20 },
      parallelAxis: axes.map((one, dim) => ({
        dim,
        z: 20, // labels above the lines
        type: "value",
        min: one.min,
        max: one.max,
        // The better end is always on top.
        inverse: dim === axes.length - 1 && data.minimize,
        name: plain(shortOf(one.label, data.columns)),
        nameLocation: "end",
        nameGap: 14,
        nameTextStyle: { color: dim === axes.length - 1 ? colours.text : colours.muted, fontSize: 11, fontWeight: dim === axes.length - 1 ? 600 : 400 },
        nameTruncate: { maxWidth: 120, ellipsis: "…" },
        axisLine: { lineStyle: { color: colours.strong, width: 1 } },
        axisTick: { show: false },
        splitLine: { show: false },
        minorTick: { show: false },
        axisLabel: { color: colours.text, fontSize: 10.5, formatter: one.tick, customValues: one.ticks, backgroundColor: colours.surface, padding: [1, 2], hideOverlap: true },
        areaSelectStyle: { width: 16, color: colours.accent, borderColor: colours.accent, opacity: 0.18 },
      })),
      visualMap: values.length > 1 ? [{ show: false, seriesIndex: 1, dimension: axes.length - 1, min: axes.at(-1).positions[data.minimize ? ranked.at(-1) : ranked[0]], max: axes.at(-1).positions[data.minimize ? ranked[0] : ranked.at(-1)], inRange: { color: scale(colours.dark, data.minimize) } }] : [],
      series: [
        { type: "parallel", z: 1, silent: true, progressive: 0, lineStyle: { color: colours.muted, width: 1, opacity: faint }, inactiveOpacity: faint / 5, activeOpacity: Math.min(0.6, faint * 5), data: rows.filter((_, row) => !best.has(row)) },
        { type: "parallel", z: 2, progressive: 0, smooth: false, lineStyle: { width: 1.6, opacity: 0.85 }, inactiveOpacity: 0.04, activeOpacity: 0.95, data: ranked.map((row) => ({ value: rows[row], row })) },
      ],
    });
    if (!bound) {
      bound = true;
      let timer = 0;
      chart.instance.on("axisareaselected", () => {
        clearTimeout(timer);
        timer = setTimeout(brushed, 150);
      });
    }
    clear.hidden = !query().get("brush");
    if (clear.hidden) areas = [];
    // A new drawing knows nothing of the brush.
    for (const [dim, intervals] of areas) chart.instance.dispatchAction({ type: "axisAreaSelect", parallelAxisIndex: dim, intervals });
  }

  function brushed() {
    const parts = [];
    const chosen = [];
    areas = [];
    chart.instance.getModel().eachComponent("parallelAxis", (model) => {
      const one = axes[model.option.dim];
      if (model.activeIntervals?.length) {
        chosen.push([one.positions, model.activeIntervals]);
        areas.push([model.option.dim, model.activeIntervals.map((interval) => [...interval])]);
      }
      const ranges = (model.activeIntervals ?? []).map(([low, high]) => one.condition(low, high)).filter(Boolean);
      if (ranges.length) parts.push(ranges.length > 1 ? `(${ranges.join(" or ")})` : ranges[0]);
    });
    const text = parts.join(" and ");
    if (text === (query().get("brush") ?? "")) return;
    setQuery({ brush: text, cursor: null });
    clear.hidden = !text;
    const pass = (row) => chosen.every(([positions, ranges]) => ranges.some(([low, high]) => positions[row] >= low && positions[row] <= high));
    // Whoever cannot ask the hub which runs the filter fits takes their names.
    document.dispatchEvent(new CustomEvent("ork:brushed", { detail: text ? names.filter((_, row) => pass(row)) : null }));
    document.dispatchEvent(new CustomEvent("ork:selection"));
  }

  const parallel = plot({
    element,
    chart,
    url: () => source(element, STATE),
    render,
  });
  // Taken away elsewhere: the plot's own brush goes too.
  document.addEventListener("ork:selection", () => {
    if (!query().get("brush") && !clear.hidden) parallel.show();
  });
  clear.addEventListener("click", () => {
    setQuery({ brush: null, cursor: null });
    document.dispatchEvent(new CustomEvent("ork:brushed", { detail: null }));
    document.dispatchEvent(new CustomEvent("ork:selection"));
  });
  exports(root, { chart, name: () => "parameters", url: () => source(element, STATE) });
  return parallel.refresh();
}

// The last part of a dotted name, where no other axis ends the same.
function shortOf(label, columns) {
  const last = label.split(".").at(-1);
  return columns.filter((one) => one.label.split(".").at(-1) === last).length === 1 ? last : label;
}

function text(column, row) {
  if (row === undefined) return "";
  return column.codes ? (column.texts[column.codes[row]] ?? "–") : number(column.values[row], 5);
}

function scale(dark, minimize) {
  const ramp = dark ? ["#3f8f95", "#5fd0d4", "#ffb25c"] : ["#58a9ad", "#0b6e75", "#d9480f"];
  return minimize ? ramp.reverse() : ramp;
}
