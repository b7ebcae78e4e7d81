// When which attempt ran where: a lane per node and attempt at once, a bar per attempt, coloured by how it ended.
import { Chart, axis, colour, exports, plain, plot, query, setQuery, source, theme, tooltip } from "./charts.js";

const STATE = ["filter", "brush", "ta", "tz"];
const LANE = 15; // pixels
const WORDS = ["succeeded", "failed", "interrupted", "running"];
const INKS = ["good", "bad", "held", "running"]; // the stylesheet's names

export function start(root) {
  const element = root.querySelector(".plot");
  const note = root.querySelector("[data-note]");
  const whole = root.querySelector("[data-whole]");
  const chart = new Chart(element);
  let shown = null;
  let clicks = false;

  function render(data) {
    shown = data;
    note.textContent = "";
    whole.hidden = !query().get("ta");
    if (!data.lanes.length) {
      element.style.height = "";
      chart.empty(data.empty.title, data.empty.text);
      return;
    }
    const colours = theme();
    const inks = INKS.map(colour);
    element.style.height = `${Math.max(8, data.lanes.length) * LANE + 84}px`;
    const nodes = data.lanes.map(([node, , slot]) => (slot === 0 ? plain(node) : ""));
    const [low, high] = window_(data);
    chart.draw({
      grid: { left: 12, right: 16, top: 8, bottom: 64, containLabel: true },
      tooltip: { ...tooltip(colours), formatter: (item) => describe(data, item.dataIndex) },
      xAxis: axis(colours, { type: "time", min: data.start * 1000, max: (data.start + data.span) * 1000 }),
      yAxis: axis(colours, {
        type: "category",
        data: nodes,
        inverse: true,
        axisLine: { show: false },
        splitLine: { show: false },
        axisLabel: { color: colours.muted, fontSize: 11, interval: (at) => nodes[at] !== "", width: 140, overflow: "truncate" },
      }),
      dataZoom: [
        { type: "inside", filterMode: "none", startValue: low * 1000, endValue: high * 1000, zoomOnMouseWheel: "ctrl", moveOnMouseMove: true },
        {
          type: "slider", filterMode: "none", startValue: low * 1000, endValue: high * 1000, height: 18, bottom: 8, showDataShadow: false,
          borderColor: colours.line, fillerColor: "rgba(128,128,128,0.2)", handleStyle: { color: colours.surface, borderColor: colours.strong }, textStyle: { color: colours.muted, fontSize: 11 }, brushSelect: false,
        },
      ],
      series: [
        {
          type: "custom",
          progressive: 0,
          clip: true,
          encode: { x: [1, 2], y: 0 },
          data: data.lane.map((lane, row) => [lane, (data.start + data.from[row]) * 1000, (data.start + data.to[row]) * 1000]),
          renderItem: (params, api) => bar(data, inks, params, api),
        },
      ],
    });
    note.textContent = summary(data);
    if (!clicks) {
      clicks = true;
      listen();
    }
  }

  // Heaps are told apart in a smaller window: its bars are fetched.
  function listen() {
    let timer = 0;
    chart.instance.on("datazoom", () => {
      clearTimeout(timer);
      timer = setTimeout(zoomed, 200);
    });
    chart.instance.on("click", (item) => {
      const name = shown.names[item.dataIndex];
      if (name && element.dataset.run) location.assign(element.dataset.run + encodeURIComponent(full(shown, name)));
    });
  }

  function zoomed() {
    const { startValue, endValue } = chart.instance.getOption().dataZoom[0];
    const from = Math.floor(startValue / 1000);
    const to = Math.ceil(endValue / 1000);
    const all = from <= shown.start && to >= shown.start + shown.span;
    setQuery({ ta: all ? null : from, tz: all ? null : to });
    whole.hidden = all;
    timeline.refresh();
  }

  const timeline = plot({ element, chart, render, url: () => source(element, STATE) });
  whole.addEventListener("click", () => {
    setQuery({ ta: null, tz: null });
    timeline.refresh();
  });
  exports(root, { chart, name: () => "timeline", url: () => source(element, STATE) });
  return timeline.refresh();
}

function window_(data) {
  const now = query();
  return now.get("ta") && now.get("tz") ? [Number(now.get("ta")), Number(now.get("tz"))] : [data.start, data.start + data.span];
}

const counts = (data, row) => (typeof data.counts[row] === "number" ? [0, 1, 2, 3].map((at) => Number(at === data.counts[row])) : data.counts[row]);
const full = (data, name) => (name.startsWith(data.sweep) ? name : `${data.sweep}-${name}`);

// A heap is cut across by how many of its attempts ended in which way.
function bar(data, inks, params, api) {
  const row = params.dataIndex;
  const [x, y] = api.coord([api.value(1), api.value(0)]);
  const [end] = api.coord([api.value(2), api.value(0)]);
  const height = Math.max(3, api.size([0, 1])[1] - 3);
  const width = Math.max(1.5, end - x - 0.5);
  const parts = counts(data, row);
  const total = parts.reduce((a, b) => a + b, 0);
  let top = y - height / 2;
  const children = [];
  parts.forEach((part, at) => {
    if (!part) return;
    const tall = (height * part) / total;
    children.push({ type: "rect", shape: { x, y: top, width, height: tall }, style: { fill: inks[at], opacity: total > 1 ? 0.7 : 0.95 } });
    top += tall;
  });
  return { type: "group", children };
}

function describe(data, row) {
  const [node, gpu] = data.lanes[data.lane[row]];
  const seconds = data.to[row] - data.from[row];
  const at = new Date((data.start + data.from[row]) * 1000).toLocaleString();
  const lines = [`${plain(node)}${gpu ? `, ${plain(gpu)}` : ""}`, `${at}, ${length(seconds)}`];
  const parts = counts(data, row);
  if (data.names[row] === null) {
    return [...lines, ...parts.map((part, kind) => part && `${part} ${WORDS[kind]}`).filter(Boolean), "zoom in to see them one by one"].join("\n");
  }
  const reason = data.reasons[data.reason[row]];
  return [plain(full(data, data.names[row])), `attempt ${data.numbers[row]}, ${WORDS[parts.indexOf(1)]}${reason && reason !== "Completed" ? `: ${plain(reason)}` : ""}`, ...lines].join("\n");
}

function length(seconds) {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function summary(data) {
  const parts = [`${data.attempts} attempt${data.attempts === 1 ? "" : "s"}`];
  if (data.hiddenNodes) parts.push(`the ${data.hiddenAttempts} on ${data.hiddenNodes} less busy node${data.hiddenNodes === 1 ? "" : "s"} are not drawn`);
  if (data.merged) parts.push("short ones side by side are one bar; zoom in to part them");
  return parts.join("; ");
}
