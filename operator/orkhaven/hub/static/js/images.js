// The panel of pictures and volumes, of one run or of several that are compared: which case, which step, which slice.
import { load, query, setQuery } from "./charts.js";
import { Viewer } from "./viewer.js";

const ROLES = ["image", "mask", "prediction"];

export async function start(root) {
  const part = (name) => root.querySelector(`[data-for=${name}]`);
  const why = root.querySelector("[data-why]");
  const form = root.querySelector("form.sliders");
  const views = root.querySelector("[data-views]");
  const readout = root.querySelector("[data-readout]");
  const chooser = root.querySelector("select[name=case]");
  const viewer = new Viewer(views, readout, moved);
  let runs = [];
  let volume = null;
  let steps = [];
  let slices = [];

  function slider(name, values) {
    const input = form.elements[name];
    input.max = Math.max(0, values.length - 1);
    part(name === "at" ? "step" : name).hidden = values.length < 2;
    const wanted = values.indexOf(Number(query().get(name)));
    input.value = query().has(name) && wanted >= 0 ? wanted : name === "at" ? values.length - 1 : Math.floor((values.length - 1) / 2);
  }

  // The same case of each run; a run that has none is null.
  function found() {
    const [kind, ...name] = chooser.value.split(":");
    return runs.map((run) => ({ run, of: run.cases.find((one) => one.kind === kind && one.name === name.join(":")) ?? null }));
  }

  const numbers = (key, cases) => [...new Set(cases.flatMap(({ of }) => of?.frames.map((frame) => frame[key]) ?? []))].filter((one) => one !== null).sort((a, b) => a - b);

  async function choose({ asked = false } = {}) {
    const cases = found();
    volume?.close();
    volume = null;
    steps = numbers("step", cases);
    slices = numbers("slice", cases);
    slider("at", steps);
    if (form.elements.last && query().has("at")) form.elements.last.checked = false;
    slider("slice", slices);
    const kind = chooser.value.split(":")[0];
    const is = (role) => cases.some(({ of }) => of?.frames.some((frame) => frame.layers[role]));
    for (const role of ["mask", "prediction"]) part(role).hidden = !is(role);
    for (const name of ["viewer", "zoom"]) part(name).hidden = kind !== "image";
    readout.hidden = root.querySelector("[data-keys]").hidden = kind !== "image";
    views.hidden = false;
    if (kind === "volume") {
      viewer.show([]);
      const module = await import("./volume.js");
      volume = module.offer({ views, cases: cases.filter(({ of }) => of), now: asked });
      return;
    }
    await show();
  }

  // Of several frames of a run at one slice: the step that was asked for; with "each run's last" the last.
  function frame(of) {
    const slice = slices[Number(form.elements.slice.value)] ?? null;
    const step = steps[Number(form.elements.at.value)] ?? null;
    const here = of.frames.filter((one) => !slices.length || one.slice === slice);
    if (form.elements.last?.checked) return { frame: here.at(-1) ?? null, step, slice };
    return { frame: here.find((one) => one.step === step) ?? here.find((one) => one.step === null) ?? null, step, slice };
  }

  function panes() {
    if (runs.length > 1) {
      return found().map(({ run, of }) => {
        if (!of) return { title: run.name, layers: {}, over: [], missing: "this run has no such case" };
        const { frame: one, step } = frame(of);
        const missing = one ? "" : `no picture at step ${step}; it has ${of.frames.map((each) => each.step).filter((each) => each !== null).join(", ") || "none"}`;
        return { title: one && one.step !== null ? `${run.name}, step ${one.step}` : run.name, layers: one?.layers ?? {}, over: ["mask", "prediction"], missing };
      });
    }
    const [{ of }] = found();
    const { frame: one, step, slice } = frame(of);
    if (!one) return [{ title: of.name, layers: {}, over: [], missing: `no picture of slice ${slice} at step ${step}` }];
    const there = ROLES.filter((role) => one.layers[role]);
    const made = there.map((role) => ({ title: role[0].toUpperCase() + role.slice(1), layers: one.layers, over: role === "image" ? [] : [role] }));
    if (one.layers.mask && one.layers.prediction) made.push({ title: "Both", layers: one.layers, over: ["mask", "prediction"] });
    return made;
  }

  function show() {
    form.elements.at.disabled = Boolean(form.elements.last?.checked);
    const of = (name, values) => values[Number(form.elements[name].value)];
    part("step").querySelector("output").textContent = of("at", steps) ?? "";
    part("slice").querySelector("output").textContent = of("slice", slices) ?? "";
    look();
    return viewer.show(panes());
  }

  function look() {
    for (const name of ["window", "level", "mask", "prediction"]) {
      const value = Number(form.elements[name].value);
      const share = name === "mask" || name === "prediction";
      viewer.look[name] = share ? value / 100 : value;
      part(name).querySelector("output").textContent = share ? `${value}%` : value;
    }
    viewer.draw();
  }

  function moved(change) {
    for (const [name, by] of [["slice", change.slice], ["at", change.step]]) {
      if (!by) continue;
      if (name === "at" && form.elements.last) form.elements.last.checked = false;
      form.elements[name].value = Number(form.elements[name].value) + by;
      place();
      show();
    }
    for (const name of ["window", "level"]) if (change[name] !== undefined) form.elements[name].value = change[name];
    if (change.window !== undefined) look();
  }

  const place = () =>
    setQuery({
      case: chooser.value,
      at: steps.length > 1 && !form.elements.last?.checked ? steps[Number(form.elements.at.value)] : null,
      slice: slices.length > 1 ? slices[Number(form.elements.slice.value)] : null,
    });

  chooser.addEventListener("change", () => {
    setQuery({ case: chooser.value, at: null, slice: null });
    choose({ asked: true });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (["at", "slice", "last"].includes(event.target.name)) {
      place();
      show();
    } else look();
  });
  root.addEventListener("click", (event) => {
    const wanted = event.target.closest("[data-zoom]")?.dataset.zoom;
    if (!wanted) return;
    if (wanted === "fit") viewer.fit();
    viewer.zoom({ in: 1.4, out: 1 / 1.4, fit: 1 }[wanted]);
  });

  async function refresh() {
    const answer = await load(root.dataset.src);
    const fresh = answer.runs ?? [{ name: "", ...answer }];
    const chosen = JSON.stringify(found().map(({ of }) => of));
    if (JSON.stringify(fresh) === JSON.stringify(runs)) return;
    runs = fresh;
    viewer.perPane = runs.length > 1;
    const cases = new Map(runs.flatMap((run) => run.cases).map((one) => [`${one.kind}:${one.name}`, one]));
    const before = chooser.value || query().get("case");
    chooser.replaceChildren(...[...cases].map(([key, one]) => new Option(one.kind === "volume" ? `${one.name} (volume)` : one.name, key)));
    if (cases.has(before)) chooser.value = before;
    part("case").hidden = cases.size < 2;
    if (!cases.size) for (const name of ["viewer", "zoom"]) part(name).hidden = true;
    gallery(root.querySelector(".gallery"), runs);
    const hidden = runs.reduce((sum, run) => sum + run.hidden, 0);
    const nothing = !cases.size && !runs.some((run) => run.gallery.length);
    why.hidden = !nothing && !hidden;
    why.textContent = nothing ? empty(hidden) : `${hidden} more in the list of artifacts: of a kind that is a download only, such as SVG.`;
    // What is looked at and has not changed stays as it is.
    if (cases.size && (chooser.value !== before || JSON.stringify(found().map(({ of }) => of)) !== chosen)) await choose();
    root.dataset.ready = "1";
  }

  function empty(hidden) {
    if (hidden) return `No picture to show in place: ${hidden} in the list of artifacts are of a kind that is a download only, such as SVG.`;
    return "No pictures. A training reports them with run.image and run.volume of orkrun; ctseg does at its end.";
  }

  let looked = Date.now();
  document.addEventListener("ork:changed", () => {
    if (Date.now() - looked < 5000) return;
    looked = Date.now();
    refresh().catch(() => {}); // what is shown stays
  });
  try {
    await refresh();
  } catch (error) {
    why.hidden = false;
    why.textContent = `The pictures cannot be had now: ${error.message}`;
  }
}

// Plain pictures, of several runs those of one name beside each other.
function gallery(host, runs) {
  const names = new Map();
  for (const run of runs) for (const one of run.gallery) {
    const key = JSON.stringify([one.group, one.name]);
    names.set(key, [...(names.get(key) ?? []), { run, one }]);
  }
  const cards = [...names.values()].map((shown) => shown.map(({ run, one }) => card(run.name, one)));
  host.replaceChildren(
    ...(runs.length < 2
      ? cards.flat()
      : cards.map((of) => {
          const row = document.createElement("div");
          row.className = "row";
          row.append(...of);
          return row;
        })),
  );
}

function card(run, { name, shots }) {
  const figure = document.createElement("figure");
  const link = document.createElement("a");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  const text = document.createElement("figcaption");
  const title = document.createElement("strong");
  const caption = document.createElement("span");
  caption.className = "muted wrap";
  title.textContent = run ? `${run}: ${name}` : name;
  text.append(title, " ", caption);
  link.append(image);
  figure.append(link, text);
  const put = (shot) => {
    const about = [shot.step === null ? "" : `step ${shot.step}`, shot.caption].filter(Boolean).join(", ");
    caption.textContent = shot.url ? about : `${about} not to be had: ${shot.why}`;
    link.hidden = !shot.url;
    if (!shot.url) return;
    link.href = shot.url;
    image.alt = `${name}${about ? `: ${about}` : ""}`;
    image.src = shot.url;
  };
  image.addEventListener("error", () => {
    link.hidden = true;
    caption.textContent += " It is no picture that a browser shows; it can be downloaded below.";
  });
  if (shots.length > 1) {
    const field = document.createElement("label");
    field.className = "field";
    const range = document.createElement("input");
    Object.assign(range, { type: "range", min: 0, max: shots.length - 1, value: shots.length - 1 });
    range.addEventListener("input", () => put(shots[Number(range.value)]));
    field.append("step", range);
    text.append(field);
  }
  put(shots.at(-1));
  return figure;
}
