// Learning curves: the best runs (or the pinned ones) on top of each other.
import { Chart, axis, controls, exports, number, plain, plot, query, source, theme, tooltip } from "./charts.js";

const STATE = ["metric", "top", "band", "x", "run", "filter", "brush"];

// The mean of what is near, weighted so that the last one counts most; starts unbiased, as TensorBoard's does.
function smooth(values, weight) {
  if (!weight) return values;
  let last = 0;
  let count = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    last = last * weight + (1 - weight) * value;
    count += 1;
    return last / (1 - weight ** count);
  });
}

export function start(root) {
  const element = root.querySelector(".plot");
  const form = root.querySelector("form.controls");
  const legend = root.querySelector(".series");
  const chart = new Chart(element);
  const hidden = new Set();

  function render(data) {
    const colours = theme();
    legend.replaceChildren();
    if (!data.series.length) {
      chart.empty(data.empty.title, data.empty.text);
      return;
    }
    const log = form.elements.log?.checked;
    const weight = Number(form.elements.smooth?.value ?? 0);
    const series = [];
    data.series.forEach((one, index) => {
      const ink = colours.series[index % colours.series.length];
      legend.append(entry(one, ink, hidden.has(one.name)));
      if (hidden.has(one.name)) return;
      const values = smooth(one.y, weight);
      const points = one.x.map((x, at) => [x, values[at]]);
      if (weight && !one.low) series.push(line(one.name, one.x.map((x, at) => [x, one.y[at]]), ink, { opacity: 0.22, width: 1, silent: true }));
      if (one.low) series.push(...band(one, ink));
      series.push(line(one.name, points, ink, { opacity: 1, width: one.pinned ? 2.5 : 1.6, dashed: index >= colours.series.length }));
    });
    chart.draw({
      grid: { left: 12, right: 16, top: 28, bottom: 26, containLabel: true },
      tooltip: {
        ...tooltip(colours),
        trigger: "axis",
        formatter: (points) => {
          const seen = new Map();
          for (const point of points) if (!point.seriesName.startsWith("\u0000")) seen.set(point.seriesName, point.value[1]);
          const rows = [...seen].sort((a, b) => (b[1] ?? -Infinity) - (a[1] ?? -Infinity)).slice(0, 14);
          return [`${data.xLabel} ${label(points[0].value[0], data.x)}`, ...rows.map(([name, value]) => `${number(value, 5).padEnd(9)} ${plain(name)}`)].join("\n");
        },
      },
      xAxis: axis(colours, {
        type: "value",
        name: data.xLabel,
        nameLocation: "middle",
        nameGap: 24,
        min: "dataMin",
        max: "dataMax",
        splitLine: { show: false },
        axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, formatter: (value) => label(value, data.x), showMinLabel: true, showMaxLabel: false },
      }),
      yAxis: axis(colours, { type: log ? "log" : "value", scale: true, name: plain(data.metric), nameLocation: "end", nameTextStyle: { color: colours.muted, fontSize: 11, align: "left" } }),
      series,
    });
  }

  function line(name, points, ink, { opacity, width, dashed = false, silent = false }) {
    return {
      type: "line",
      name: silent ? `\u0000${name}` : name,
      data: points,
      showSymbol: points.length === 1,
      symbol: "circle",
      silent,
      connectNulls: false,
      lineStyle: { color: ink, width, opacity, type: dashed ? "dashed" : "solid" },
      itemStyle: { color: ink },
      emphasis: { disabled: true },
    };
  }

  function band(one, ink) {
    const stack = `\u0000band ${one.name}`;
    const base = { type: "line", stack, stackStrategy: "all", symbol: "none", silent: true, lineStyle: { opacity: 0 }, emphasis: { disabled: true } };
    return [
      { ...base, name: stack, data: one.x.map((x, at) => [x, one.low[at]]) },
      { ...base, name: stack, data: one.x.map((x, at) => [x, one.high[at] - one.low[at]]), areaStyle: { color: ink, opacity: 0.15 } },
    ];
  }

  function entry(one, ink, off) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.setAttribute("aria-pressed", String(!off));
    button.title = `${one.name}: ${off ? "show" : "hide"} it`;
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    mark.setAttribute("width", "12");
    mark.setAttribute("height", "4");
    mark.setAttribute("aria-hidden", "true");
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("width", "12");
    rect.setAttribute("height", "4");
    rect.setAttribute("rx", "2");
    rect.setAttribute("fill", off ? "none" : ink);
    rect.setAttribute("stroke", ink);
    mark.append(rect);
    button.append(mark, one.label);
    button.addEventListener("click", () => {
      if (!hidden.delete(one.name)) hidden.add(one.name);
      curves.show();
    });
    item.append(button);
    return item;
  }

  const curves = plot({ element, chart, render, url: () => source(element, STATE) });
  if (form) {
    controls(form, (name) => (name === "log" || name === "smooth" ? curves.show() : curves.refresh()));
  }
  exports(root, { chart, name: () => `curves-${query().get("metric") ?? "objective"}`, url: () => source(element, STATE) });
  return curves.refresh();
}

function label(value, x) {
  if (x !== "time") return number(value);
  if (value < 120) return `${number(value)}s`;
  if (value < 7200) return `${number(value / 60, 3)}m`;
  return `${number(value / 3600, 3)}h`;
}
