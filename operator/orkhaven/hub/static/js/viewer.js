// Pictures of one place side by side: an image with mask and prediction over it in each pane; zoom, place, cursor, window and
// opacity are those of all panes. Places are shares of a picture, so that pictures of other sizes are linked too.
const KEPT = 96 * 1024 * 1024; // bytes of decoded pictures
const LARGEST = 36e6; // pixels of one
const NEAR = 24; // times
export const TINTS = { mask: [32, 178, 107], prediction: [240, 106, 42] };
const LABELS = [[0, 0, 0], [91, 87, 200], [179, 38, 111], [166, 124, 0], [43, 120, 198], [139, 63, 184], [122, 82, 48]];

const pictures = new Map(); // by URL, the one looked at last at the end

// Decoded, with its pixels. What is no picture is refused by the server's type or the browser's decoder.
async function picture(url) {
  const waiting = pictures.get(url) ?? { size: 0, found: decode(url) };
  pictures.delete(url);
  pictures.set(url, waiting);
  try {
    const found = await waiting.found;
    waiting.size = found.pixels.length * 2; // and as it is painted
  } catch (error) {
    pictures.delete(url);
    throw error;
  }
  let kept = [...pictures.values()].reduce((sum, one) => sum + one.size, 0);
  for (const [oldest, { size }] of pictures) {
    if (kept <= KEPT || oldest === url) break;
    pictures.delete(oldest);
    kept -= size;
  }
  return waiting.found;
}

async function decode(url) {
  const image = new Image();
  await new Promise((done, failed) => {
    image.onload = done;
    image.onerror = () => failed(new Error("it is no picture that a browser shows"));
    image.src = url;
  });
  if (image.naturalWidth * image.naturalHeight > LARGEST) throw new Error(`${image.naturalWidth} x ${image.naturalHeight} pixels are too many to lay over one another; download it`);
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { width, height } = canvas;
  return { width, height, pixels: context.getImageData(0, 0, width, height).data, made: new Map() };
}

function painted(source, key, paint) {
  let canvas = source.made.get(key);
  if (!canvas) {
    const result = new ImageData(source.width, source.height);
    paint(source.pixels, result.data);
    canvas = new OffscreenCanvas(source.width, source.height);
    canvas.getContext("2d").putImageData(result, 0, 0);
    source.made.clear(); // one of each picture: windows are dragged
    source.made.set(key, canvas);
  }
  return canvas;
}

function windowed(source, { window, level }) {
  return painted(source, `${window}/${level}`, (from, to) => {
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value++) table[value] = ((value - level) / window + 0.5) * 255;
    for (let at = 0; at < from.length; at += 4) {
      to[at] = table[from[at]];
      to[at + 1] = table[from[at + 1]];
      to[at + 2] = table[from[at + 2]];
      to[at + 3] = from[at + 3];
    }
  });
}

// A mask is two values, labels are a few, a probability is many; a coloured picture keeps its colours.
function tinted(source, role) {
  return painted(source, role, (from, to) => {
    const values = new Set();
    let coloured = false;
    for (let at = 0; at < from.length; at += 4) {
      if (values.size <= LABELS.length) values.add(from[at]);
      if (from[at] !== from[at + 1] || from[at] !== from[at + 2]) coloured = true;
    }
    values.delete(0);
    const labels = [...values].sort((a, b) => a - b);
    const few = labels.length <= LABELS.length;
    const ink = new Map(labels.map((value, index) => [value, index ? LABELS[index] : TINTS[role]]));
    for (let at = 0; at < from.length; at += 4) {
      const value = from[at];
      if (!value && !from[at + 1] && !from[at + 2]) continue;
      const [red, green, blue] = coloured ? from.subarray(at, at + 3) : few ? ink.get(value) : TINTS[role];
      to[at] = red;
      to[at + 1] = green;
      to[at + 2] = blue;
      to[at + 3] = coloured || few ? 255 : value;
    }
  });
}

// How far two masks of one picture agree: 2 |A and B| / (|A| + |B|).
function dice(mask, prediction) {
  if (mask.pixels.length !== prediction.pixels.length) return null;
  let both = 0;
  let all = 0;
  for (let at = 0; at < mask.pixels.length; at += 4) {
    const is = mask.pixels[at] > 0;
    const said = prediction.pixels[at] > 0;
    if (is && said) both += 1;
    all += is + said;
  }
  return all ? (2 * both) / all : null;
}

export class Viewer {
  // `moved` is told what a key or a drag changes beside the place: {slice: +-1}, {step: +-1}, {window, level}.
  constructor(host, readout, moved) {
    this.host = host;
    this.readout = readout;
    this.moved = moved;
    this.panes = [];
    this.look = { window: 256, level: 128, mask: 0.45, prediction: 0.45 };
    this.fit();
    this.resized = new ResizeObserver(() => this.draw());
  }

  fit() {
    this.place = { zoom: 1, x: 0.5, y: 0.5 };
    this.cursor = null;
  }

  zoom(factor) {
    this.place.zoom = Math.min(NEAR, Math.max(1, this.place.zoom * factor));
    this.#bound();
    this.draw();
  }

  #bound() {
    const edge = 0.5 / this.place.zoom;
    for (const axis of ["x", "y"]) this.place[axis] = Math.min(1 - edge, Math.max(edge, this.place[axis]));
  }

  // panes: [{title, layers: {image, mask, prediction: {url, why, caption}}, over: [roles], missing}]
  async show(panes) {
    const round = (this.round = {});
    const loaded = await Promise.all(panes.map((pane) => this.#load(pane)));
    if (this.round !== round) return;
    while (this.panes.length > panes.length) this.panes.pop().figure.remove();
    while (this.panes.length < panes.length) this.panes.push(this.#pane());
    loaded.forEach((content, index) => {
      const pane = this.panes[index];
      pane.content = content;
      pane.title.textContent = content.title;
      pane.caption.textContent = content.caption;
      pane.canvas.setAttribute("aria-label", `${content.title}${content.caption ? `: ${content.caption}` : ""}`);
    });
    this.draw();
  }

  async #load(pane) {
    const loaded = { title: pane.title, over: pane.over, found: {}, problems: pane.missing ? [pane.missing] : [] };
    const said = [];
    for (const role of ["image", ...pane.over]) {
      const layer = pane.layers[role];
      if (!layer) continue;
      try {
        if (!layer.url) throw new Error(layer.why);
        loaded.found[role] = await picture(layer.url);
        if (layer.caption && !said.includes(layer.caption)) said.push(layer.caption);
      } catch (error) {
        loaded.problems.push(`${role}: ${error.message}`);
      }
    }
    const { mask, prediction } = loaded.found;
    const agreement = mask && prediction ? dice(mask, prediction) : null;
    if (agreement !== null) said.push(`Dice of these two masks ${agreement.toFixed(3)}`);
    loaded.caption = [...said, ...loaded.problems].join("; ");
    return loaded;
  }

  #pane() {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-describedby", "image-keys");
    const text = document.createElement("figcaption");
    const title = document.createElement("strong");
    const caption = document.createElement("span");
    caption.className = "muted";
    text.append(title, " ", caption);
    figure.append(canvas, text);
    this.host.append(figure);
    const pane = { figure, canvas, title, caption, content: null };
    this.#listen(pane);
    this.resized.observe(canvas);
    return pane;
  }

  #listen(pane) {
    const { canvas } = pane;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      from = { x: event.clientX, y: event.clientY, place: { ...this.place }, look: { ...this.look } };
    });
    canvas.addEventListener("pointermove", (event) => {
      this.cursor = this.#at(pane, event);
      if (from) {
        const x = event.clientX - from.x;
        const y = event.clientY - from.y;
        if (event.shiftKey) this.moved({ window: from.look.window + x, level: from.look.level - y });
        else {
          const size = this.#size(pane);
          if (size) Object.assign(this.place, { x: from.place.x - x / size.width, y: from.place.y - y / size.height });
          this.#bound();
        }
      }
      this.draw();
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (from = null));
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.draw();
    });
    canvas.addEventListener("dblclick", () => {
      this.fit();
      this.draw();
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        // Without a modifier the wheel moves the page, as everywhere.
        if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
        event.preventDefault();
        this.zoom(Math.exp(-(event.deltaY || event.deltaX) / 300));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
      const step = 0.1 / this.place.zoom;
      const moves = { ArrowLeft: ["x", -step], ArrowRight: ["x", step], ArrowUp: ["y", -step], ArrowDown: ["y", step] };
      if (moves[event.key]) {
        const [axis, by] = moves[event.key];
        this.place[axis] += by;
        this.#bound();
        this.draw();
      } else if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(0.8);
      else if (event.key === "0") {
        this.fit();
        this.draw();
      } else if (event.key === "[") this.moved({ slice: -1 });
      else if (event.key === "]") this.moved({ slice: 1 });
      else if (event.key === ",") this.moved({ step: -1 });
      else if (event.key === ".") this.moved({ step: 1 });
      else return;
      event.preventDefault();
    });
  }

  // On the screen, in CSS pixels: the whole picture's size and where it begins.
  #size(pane) {
    const base = Object.values(pane.content?.found ?? {})[0];
    const { clientWidth: width, clientHeight: height } = pane.canvas;
    if (!base || !width) return null;
    const scale = Math.min(width / base.width, height / base.height) * this.place.zoom;
    const whole = { width: base.width * scale, height: base.height * scale };
    // Smaller than the pane it stands in the middle.
    const left = whole.width <= width ? (width - whole.width) / 2 : width / 2 - this.place.x * whole.width;
    const top = whole.height <= height ? (height - whole.height) / 2 : height / 2 - this.place.y * whole.height;
    return { ...whole, left, top, base, scale };
  }

  #at(pane, event) {
    const size = this.#size(pane);
    if (!size) return null;
    const x = (event.offsetX - size.left) / size.width;
    const y = (event.offsetY - size.top) / size.height;
    return x >= 0 && x < 1 && y >= 0 && y < 1 ? { x, y } : null;
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      for (const pane of this.panes) this.#draw(pane);
      this.#read();
      this.host.dataset.drawn = Number(this.host.dataset.drawn ?? 0) + 1;
    });
  }

  #draw(pane) {
    const { canvas } = pane;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const size = this.#size(pane);
    if (!size) return;
    const box = [size.left, size.top, size.width, size.height].map((value) => value * ratio);
    context.imageSmoothingEnabled = size.scale * ratio < 2; // near enough, a pixel is a square
    const { found } = pane.content;
    if (found.image) context.drawImage(windowed(found.image, this.look), ...box);
    for (const role of pane.content.over) {
      if (!found[role] || !this.look[role]) continue;
      context.globalAlpha = this.look[role];
      context.drawImage(tinted(found[role], role), ...box);
      context.globalAlpha = 1;
    }
    if (this.cursor) {
      const x = box[0] + this.cursor.x * box[2];
      const y = box[1] + this.cursor.y * box[3];
      context.strokeStyle = "rgb(255 214 64 / 85%)";
      context.lineWidth = ratio;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height);
      context.moveTo(0, y);
      context.lineTo(width, y);
      context.stroke();
    }
  }

  #read() {
    if (!this.readout) return;
    const lines = [];
    for (const pane of this.cursor ? this.panes : []) {
      const values = [];
      let where = "";
      for (const [role, source] of Object.entries(pane.content?.found ?? {})) {
        const x = Math.floor(this.cursor.x * source.width);
        const y = Math.floor(this.cursor.y * source.height);
        where ||= `x ${x}, y ${y}`;
        values.push(`${role} ${source.pixels[4 * (y * source.width + x)]}`);
      }
      const line = `${where}: ${values.join(", ")}`;
      lines.push({ title: pane.content?.title, line });
    }
    const most = lines.reduce((best, one) => (one.line.length > (best?.line.length ?? 0) ? one : best), null);
    const text = this.perPane ? lines.map(({ title, line }) => `${title} ${line}`).join(" · ") : (most?.line ?? "");
    this.readout.textContent = text || "Move over a picture: the cursor is the same in all of them.";
  }
}
