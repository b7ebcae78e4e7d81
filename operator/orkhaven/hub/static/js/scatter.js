// Any two columns against each other, a dot per run; coloured by the objective.
import { Chart, axis, controls, exports, number, plain, plot, source, theme, tooltip } from "./charts.js";

const STATE = ["sx", "sy", "filter", "brush"];

export function start(root) {
  const element = root.querySelector(".plot");
  const form = root.querySelector("form.controls");
  const chart = new Chart(element);

  function render(data) {
    const colours = theme();
    const [x, y, hue] = data.columns;
    const points = [];
    data.names.forEach((name, row) => {
      const a = valueOf(x, row);
      const b = valueOf(y, row);
      if (a !== null && b !== null) points.push({ value: [a, b, hue ? hue.values[row] : null], name });
    });
    if (!points.length) {
      chart.empty(data.empty.title, data.empty.text);
      return;
    }
    const hues = points.map((point) => point.value[2]).filter((value) => typeof value === "number");
    const low = hues.reduce((a, b) => Math.min(a, b), Infinity);
    const high = hues.reduce((a, b) => Math.max(a, b), -Infinity);
    chart.draw({
      grid: { left: 12, right: 16, top: 28, bottom: 28, containLabel: true },
      tooltip: {
        ...tooltip(colours),
        formatter: (item) => [plain(item.name), `${plain(x.label)}  ${plain(textOf(x, item.value[0]))}`, `${plain(y.label)}  ${plain(textOf(y, item.value[1]))}`].join("\n"),
      },
      xAxis: scaleFor(x, colours, { name: plain(x.label), nameLocation: "middle", nameGap: 26, splitLine: { show: false } }),
      yAxis: scaleFor(y, colours, { name: plain(y.label), nameTextStyle: { color: colours.muted, fontSize: 11, align: "left" } }),
      visualMap: hues.length > 1 && high > low ? [{ show: false, dimension: 2, min: low, max: high, inRange: { color: ramp(colours.dark, data.minimize) } }] : [],
      series: [{ type: "scatter", data: points, symbolSize: points.length > 2000 ? 4 : 7, itemStyle: { color: colours.accent, opacity: points.length > 2000 ? 0.45 : 0.8 }, progressive: 0 }],
    });
  }

  const scatter = plot({ element, chart, render, url: () => source(element, STATE) });
  controls(form, () => scatter.refresh());
  exports(root, { chart, name: () => "scatter", url: () => source(element, STATE) });
  chartClicks(chart, element);
  return scatter.refresh();
}

function chartClicks(chart, element) {
  const observer = new MutationObserver(() => {
    if (!chart.instance) return;
    observer.disconnect();
    chart.instance.on("click", (item) => location.assign(element.dataset.run + encodeURIComponent(item.name)));
  });
  observer.observe(element, { attributes: true });
}

function valueOf(column, row) {
  if (column.codes) return column.codes[row] < 0 ? null : column.codes[row];
  return typeof column.values[row] === "number" ? column.values[row] : null;
}

function textOf(column, value) {
  return column.codes ? column.texts[value] : number(value, 5);
}

function scaleFor(column, colours, more) {
  if (column.codes) return axis(colours, { type: "category", data: column.texts.map(plain), ...more });
  const values = column.values.filter((value) => typeof value === "number");
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const log = low > 0 && high / low >= 100;
  return axis(colours, { type: log ? "log" : "value", scale: true, ...more });
}

const ramp = (dark, minimize) => {
  const colours = dark ? ["#3f8f95", "#5fd0d4", "#ffb25c"] : ["#8cc0c2", "#0b6e75", "#d9480f"];
  return minimize ? colours.reverse() : colours;
};
