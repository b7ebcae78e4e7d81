// Volumes: NiiVue, fetched only when somebody wants to look at one. Several runs' volumes are linked.
import { TINTS } from "./viewer.js";

const LIBRARY = "../vendor/niivue-0.69.0/niivue.umd.js";
const LARGE = 64 * 1024 * 1024; // bytes that are not fetched without a click
const WINDOWS = { Lung: [1500, -600], "Soft tissue": [400, 40], Bone: [1800, 400], Brain: [80, 40] };
const VIEWS = { "All three": 3, Axial: 0, Coronal: 1, Sagittal: 2, "3D": 4 };

const amount = (bytes) => (bytes < 1048576 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`);

// cases: [{run, of}], the same case of each run; `now`: it was asked for, so nothing need be clicked first.
export function offer({ views, cases, now }) {
  const shown = cases.map(({ run, of }) => ({ run, frame: of.frames.at(-1) }));
  const size = shown.reduce((sum, { frame }) => sum + Object.values(frame.layers).reduce((all, layer) => all + layer.size, 0), 0);
  const box = document.createElement("div");
  box.className = "volume";
  const figures = document.createElement("div");
  figures.className = "volumes";
  box.append(figures);
  views.append(box);
  const opened = [];
  let closed = false;
  const missing = shown.flatMap(({ frame }) => Object.entries(frame.layers).filter(([, layer]) => !layer.url).map(([role, layer]) => `${role}: ${layer.why}`));
  if (missing.length) box.append(sentence(`Not to be had: ${[...new Set(missing)].join("; ")}`));
  if (shown.every(({ frame }) => !Object.values(frame.layers).some((layer) => layer.url))) return { close: () => box.remove() };
  if (!document.createElement("canvas").getContext("webgl2")) {
    box.append(sentence("This browser has no WebGL 2, which volumes are drawn with. They can be downloaded from the list of artifacts."));
    box.dataset.state = "no-webgl";
    return { close: () => box.remove() };
  }

  async function open() {
    const status = sentence("The viewer is being fetched …");
    status.setAttribute("role", "status");
    box.prepend(status);
    try {
      await import(LIBRARY);
      for (const [index, { run, frame }] of shown.entries()) {
        status.textContent = `Volume ${index + 1} of ${shown.length} is being fetched …`;
        const made = await draw(figures, run, frame);
        if (closed) return made.close();
        opened.push(made);
      }
      for (const one of opened) one.nv.broadcastTo(opened.filter((other) => other !== one).map((other) => other.nv), { "2d": true, "3d": true });
      status.remove();
      box.prepend(controls(opened));
      box.dataset.state = "shown";
    } catch (error) {
      status.textContent = `The volume cannot be shown: ${error.message}`;
      box.dataset.state = "failed";
    }
  }

  if (now && size <= LARGE) open();
  else {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Show the volume (${amount(size)}, and the viewer)`;
    button.addEventListener("click", () => {
      button.remove();
      open();
    });
    box.append(button);
  }
  return {
    close() {
      closed = true;
      for (const one of opened) one.close();
      box.remove();
    },
  };
}

function sentence(text) {
  const made = document.createElement("p");
  made.className = "muted wrap";
  made.textContent = text;
  return made;
}

async function draw(box, run, frame) {
  const { Niivue, NVImage } = globalThis.niivue;
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  const holder = document.createElement("div");
  holder.className = "canvas";
  holder.append(canvas);
  canvas.tabIndex = 0;
  const caption = document.createElement("figcaption");
  const title = document.createElement("strong");
  const place = document.createElement("span");
  place.className = "muted mono";
  title.textContent = [run.name, frame.step === null ? "" : `step ${frame.step}`].filter(Boolean).join(", ");
  caption.append(title, " ", place);
  figure.append(holder, caption);
  box.append(figure);
  const nv = new Niivue({ dragAndDropEnabled: false, logLevel: "error", loadingText: "", backColor: [0, 0, 0, 1], crosshairColor: [1, 0.84, 0.25, 0.8], isNearestInterpolation: true, multiplanarShowRender: 0, show3Dcrosshair: true, crosshairWidthUnit: "percent", crosshairWidth: 0.4, viewModeHotKey: "", onLocationChange: (data) => (place.textContent = data.string) });
  await nv.attachToCanvas(canvas);
  for (const [role, ink] of Object.entries(TINTS)) {
    nv.addColormap(`ork-${role}`, { R: [0, ink[0]], G: [0, ink[1]], B: [0, ink[2]], A: [0, 255], I: [0, 255] });
  }
  const roles = [];
  for (const role of ["image", "mask", "prediction"]) {
    const layer = frame.layers[role];
    if (!layer?.url) continue;
    const answer = await fetch(layer.url);
    if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error?.message ?? `the hub answered ${answer.status}`);
    // The name says to NiiVue what it is; it comes from a run, so only its ending is taken.
    const name = `volume${layer.path.endsWith(".gz") ? ".nii.gz" : ".nii"}`;
    const file = new File([await answer.blob()], name);
    const look = role === "image" ? { colormap: "gray", opacity: 1 } : { colormap: `ork-${role}`, opacity: 0.45, cal_min: 0.5, cal_max: 1 };
    nv.addVolume(await NVImage.loadFromFile({ file, name, ...look }));
    roles.push(role);
  }
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Volume ${title.textContent}: ${roles.join(", ")}. Page up and page down go through the slices.`);
  canvas.addEventListener("keydown", (event) => {
    const by = { PageUp: 1, PageDown: -1, "]": 1, "[": -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    // Across the slices of the view: those of all three go through the axial ones.
    const axis = { 1: [0, by, 0], 2: [by, 0, 0] }[nv.opts.sliceType] ?? [0, 0, by];
    nv.moveCrosshairInVox(...axis);
  });
  return {
    nv,
    roles,
    close() {
      nv.cleanup();
      nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
    },
  };
}

function controls(opened) {
  const form = document.createElement("form");
  form.className = "controls sliders";
  form.addEventListener("submit", (event) => event.preventDefault());
  const field = (label, input, name) => {
    const made = document.createElement("label");
    made.className = name === "mask" || name === "prediction" ? `field layer-${name}` : "field";
    input.name = name;
    made.append(label, " ", input);
    form.append(made);
    return input;
  };
  const select = (choices) => {
    const made = document.createElement("select");
    made.append(...choices.map((one) => new Option(one)));
    return made;
  };
  const views = field("view", select(Object.keys(VIEWS)), "view");
  views.addEventListener("change", () => opened.forEach(({ nv }) => nv.setSliceType(VIEWS[views.value])));
  // Without a GPU a rendering in three dimensions takes seconds, and each of several runs has little room: both are asked for.
  views.value = opened.length > 1 ? "Axial" : "All three";
  for (const { nv } of opened) nv.setSliceType(VIEWS[views.value]);

  const images = opened.filter(({ roles }) => roles[0] === "image").map(({ nv }) => nv);
  if (images.length) {
    const base = images[0].volumes[0];
    const preset = field("window", select(["As it is", ...Object.keys(WINDOWS)]), "preset");
    const number = (value) => Object.assign(document.createElement("input"), { type: "number", step: "any", value: Math.round(value * 100) / 100 });
    const width = field("width", number(base.cal_max - base.cal_min), "width");
    const level = field("level", number((base.cal_max + base.cal_min) / 2), "centre");
    const original = [Number(width.value), Number(level.value)];
    const apply = () => {
      const half = Math.max(1e-6, Number(width.value)) / 2;
      for (const nv of images) {
        nv.volumes[0].cal_min = Number(level.value) - half;
        nv.volumes[0].cal_max = Number(level.value) + half;
        nv.updateGLVolume();
      }
    };
    preset.addEventListener("change", () => {
      [width.value, level.value] = WINDOWS[preset.value] ?? original;
      apply();
    });
    for (const input of [width, level]) input.addEventListener("change", apply);
  }
  for (const role of Object.keys(TINTS)) {
    const having = opened.filter(({ roles }) => roles.includes(role));
    if (!having.length) continue;
    const range = field(role, Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: 45 }), role);
    range.addEventListener("input", () => {
      for (const { nv, roles } of having) nv.setOpacity(roles.indexOf(role), Number(range.value) / 100);
    });
  }
  return form;
}
