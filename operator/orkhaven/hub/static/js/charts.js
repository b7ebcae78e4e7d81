// What all plots share: colours of the theme, data from the server, the state in the URL, an empty plot that says why.
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

export function colour(name) {
  // A custom property made of light-dark() has no value of its own until something is painted with it.
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

export const LIGHT = ["#0b6e75", "#c2571a", "#5b57c8", "#b3266f", "#4f7d12", "#a67c00", "#2b78c6", "#7a5230", "#8b3fb8", "#5f6b76"];
export const DARK = ["#4fc3c9", "#f0925a", "#a4a1f5", "#ee7db4", "#9ccc5a", "#e3bf4b", "#78b4f2", "#c79a74", "#cb92ec", "#a3afba"];

export function theme() {
  const text = colour("text");
  return {
    text,
    muted: colour("muted"),
    line: colour("line"),
    strong: colour("line-strong"),
    surface: colour("surface"),
    accent: colour("accent"),
    bad: colour("bad"),
    series: isDarkText(text) ? LIGHT : DARK,
    dark: !isDarkText(text),
  };
}

function isDarkText(text) {
  const [r, g, b] = text.match(/[\d.]+/g).map(Number);
  return r + g + b < 384;
}

// --- the URL is the state ---

// A saved report has no hub to ask and no URL to change: its answers stand in the page, its state is kept here.
let answers = null;
let kept = "";
export function offline(answer) {
  answers = answer;
}

export const query = () => new URLSearchParams(answers ? kept : location.search);

export function setQuery(changes) {
  const now = query();
  for (const [key, value] of Object.entries(changes)) {
    now.delete(key);
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== "") now.append(key, one);
  }
  const text = now.toString();
  if (answers) {
    kept = text;
    return;
  }
  history.replaceState(history.state, "", location.pathname + (text ? `?${text}` : "") + location.hash);
}

// The page's own state goes along, so that a plot shows the runs that the table shows.
export function source(element, keys) {
  const url = new URL(element.dataset.src, location.href);
  for (const key of keys) for (const value of query().getAll(key)) url.searchParams.append(key, value);
  return url;
}

const tags = new WeakMap(); // of what was loaded, how the server names it

export async function load(url, options = {}) {
  if (answers) return answers(new URL(url));
  const answer = await fetch(url, { ...options, headers: { Accept: "application/json" } });
  const tag = answer.headers.get("etag");
  if (answer.status === 401) location.reload();
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.error?.message ?? `the hub answered ${answer.status}`);
  if (body && tag) tags.set(body, tag);
  return body;
}

// --- numbers ---

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  return Number(value.toPrecision(digits)).toString();
}

// --- one chart ---

export class Chart {
  constructor(element) {
    this.element = element;
    this.instance = null;
    this.note = null;
    new ResizeObserver(() => this.instance?.resize()).observe(element);
  }

  draw(option) {
    this.note?.remove();
    this.note = null;
    // Its own box: echarts empties what it is given, and the note has to stay reachable.
    if (!this.instance) {
      this.box = document.createElement("div");
      this.box.className = "box";
      this.element.prepend(this.box);
      this.instance = echarts.init(this.box, null, { renderer: "canvas" });
    }
    this.box.hidden = false;
    this.option = option;
    this.instance.setOption({ animation: false, ...option }, { notMerge: true });
    this.element.dataset.drawn = String(Number(this.element.dataset.drawn ?? 0) + 1);
    if (!performance.getEntriesByName("first-plot").length) {
      requestAnimationFrame(() => setTimeout(() => performance.mark("first-plot")));
    }
    return this.instance;
  }

  // Why there is nothing to see.
  empty(title, text = "") {
    if (this.box) this.box.hidden = true;
    this.note?.remove();
    this.note = document.createElement("p");
    this.note.className = "empty";
    const strong = document.createElement("strong");
    strong.textContent = title;
    this.note.append(strong, " ", text);
    this.element.append(this.note);
    this.element.dataset.drawn = String(Number(this.element.dataset.drawn ?? 0) + 1);
  }

  get isDrawn() {
    return Boolean(this.instance && !this.box.hidden);
  }

  png() {
    const canvas = this.instance.renderToCanvas({ pixelRatio: 2, backgroundColor: colour("surface") });
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  // The same drawing once more, as vectors, of the size that it has on the screen.
  svg() {
    const { width, height } = this.box.getBoundingClientRect();
    const drawing = echarts.init(null, null, { renderer: "svg", ssr: true, width, height });
    try {
      drawing.setOption({ ...this.option, animation: false, backgroundColor: colour("surface") });
      return new Blob([drawing.renderToSVGString()], { type: "image/svg+xml" });
    } finally {
      drawing.dispose();
    }
  }
}

const LATEST = 5000; // ms that a plot may be late in a sweep so large that drawing it takes its time

// A plot: fetches when what it depends on changes, draws again when the theme does.
export function plot({ element, url, render, chart }) {
  let data = null;
  let drawn = "";
  let running = false;
  let again = false;
  let visible = null;
  let next = 0;
  let timer = 0;
  const show = () => {
    if (data) render(data);
  };
  async function refresh() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        const from = String(url());
        const started = performance.now();
        const found = await load(from);
        data = found;
        drawn = from;
        if (again) continue;
        // The answer that is on the screen already is not drawn once more.
        const what = tags.has(found) ? `${from} ${tags.get(found)}` : null;
        if (what === null || what !== visible) show();
        visible = what;
        // Whatever a sweep's size, a plot takes a tenth of the time at most: a page stays quick to the hand.
        next = performance.now() + Math.min(LATEST, 9 * (performance.now() - started));
      } while (again);
    } catch (error) {
      if (!data) chart.empty("It could not be fetched.", `${error.message}. It is tried again when something changes.`);
    } finally {
      running = false;
    }
  }
  document.addEventListener("ork:theme", show);
  document.addEventListener("ork:changed", () => {
    if (!timer) {
      timer = setTimeout(() => {
        timer = 0;
        refresh();
      }, Math.max(0, next - performance.now()));
    }
  });
  // Another filter or brush: only what depends on it is fetched. A brush that is just being drawn stays as it is.
  document.addEventListener("ork:selection", () => String(url()) !== drawn && refresh());
  return { refresh, show };
}

// Controls of a plot: selects, numbers and checkboxes whose names are the URL's.
export function controls(form, onChange) {
  const now = query();
  for (const field of form.elements) {
    if (!field.name) continue;
    const value = now.get(field.name);
    if (value === null) continue;
    if (field.type === "checkbox") field.checked = value === "1";
    else if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    const field = event.target;
    const value = field.type === "checkbox" ? (field.checked ? "1" : "") : field.value;
    setQuery({ [field.name]: value === field.dataset.default ? "" : value });
    onChange(field.name);
  });
}

export function tooltip(colours) {
  // Drawn on the canvas: no name of a run or of a metric is ever taken for HTML.
  return {
    renderMode: "richText",
    confine: true,
    backgroundColor: colours.surface,
    borderColor: colours.strong,
    borderWidth: 1,
    padding: [6, 8],
    textStyle: { color: colours.text, fontSize: 12 },
  };
}

// echarts takes braces for markup in the text of a label.
export const plain = (text) => String(text).replaceAll("{", "(").replaceAll("}", ")").replaceAll("|", "¦");

export function axis(colours, more = {}) {
  return {
    axisLine: { lineStyle: { color: colours.strong } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colours.line } },
    axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true },
    nameTextStyle: { color: colours.muted, fontSize: 11 },
    ...more,
  };
}

// The button [data-png] of a plot becomes a menu: the picture as PNG or SVG, what is drawn as CSV or JSON.
export function exports(root, { chart, name, url }) {
  const button = root.querySelector("[data-png]");
  if (!button) return;
  const menu = document.createElement("details");
  menu.className = "menu";
  const summary = document.createElement("summary");
  summary.textContent = "Export";
  const list = document.createElement("ul");
  list.className = "pop";
  menu.append(summary, list);
  const entry = (element, label) => {
    element.textContent = label;
    const item = document.createElement("li");
    item.append(element);
    list.append(item);
    return element;
  };
  const pictures = ["PNG", "SVG"].map((kind) => {
    const one = entry(document.createElement("button"), kind);
    one.type = "button";
    one.className = "plain";
    one.addEventListener("click", async () => save(await (kind === "PNG" ? chart.png() : chart.svg()), `${name()}.${kind.toLowerCase()}`));
    return one;
  });
  const files = (answers ? [] : ["CSV", "JSON"]).map((kind) => {
    const one = entry(document.createElement("a"), `${kind} of the data`);
    one.download = "";
    return one;
  });
  // What is shown when the menu is opened is what is exported.
  menu.addEventListener("toggle", () => {
    for (const one of pictures) one.disabled = !chart.isDrawn;
    for (const [at, file] of files.entries()) {
      const from = new URL(url());
      from.searchParams.set("format", ["csv", "json"][at]);
      file.href = from.href;
    }
  });
  button.replaceWith(menu);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^A-Za-z0-9._-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
