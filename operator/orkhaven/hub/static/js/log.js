// The log's panel: which attempt, from where, whether it goes on by itself, what is searched for.
import { load, query, setQuery } from "./charts.js";
import { LogView, matchItem } from "./logview.js";

const FIRST_LINES = 1000;
const PAGE = 256 * 1024;
const FAR = 8 * PAGE;
const AGAIN = 2000; // ms after a failed request
const PAUSE = 150; // ms between two answers of a log that grows: nobody reads faster
const LOOK = 3000; // ms between two looks for new attempts
const TROUBLE = /Traceback \(most recent call last\)|\b\w*(?:Error|Exception)\b|\bCUDA\b|\bKilled\b/;

export function start(root) {
  const text = root.querySelector(".log");
  const view = new LogView(text);
  const chooser = root.querySelector("select[name=attempt]");
  const sign = root.querySelector("[data-status]");
  const buttons = Object.fromEntries([...root.querySelectorAll("[data-do]")].map((one) => [one.dataset.do, one]));
  const form = root.querySelector("form.search");
  const results = root.querySelector(".matches");
  let size = 0;
  let ended = null;
  let following = true;
  let asking = null; // AbortController of what goes on
  let searches = 0; // the latest counts: two of the same may be under way

  const base = (attempt = chooser.value) => `${root.dataset.src}/attempts/${encodeURIComponent(attempt)}/log`;
  // The table of attempts is renewed while the page is open, and knows how they ended.
  const row = (attempt) => document.querySelector(`#attempts tr[data-attempt="${CSS.escape(attempt)}"]`);
  const failure = () => row(chooser.value)?.dataset.failure || chooser.selectedOptions[0]?.dataset.failure || "";

  function say(state, words) {
    sign.dataset.state = state;
    if (sign.textContent !== words) sign.textContent = words;
    buttons.follow.hidden = state === "live" || !chooser.value || (ended !== null && view.next >= size);
    buttons.earlier.hidden = view.first === 0 || !view.pages.length;
    buttons.later.hidden = following || !view.pages.length || view.next >= size;
    buttons.failure.hidden = !failure() || !view.pages.length;
  }

  async function ask(parameters, signal) {
    const url = new URL(base(), location.href);
    for (const [key, value] of Object.entries({ format: "json", limit: PAGE, ...parameters })) url.searchParams.set(key, value);
    const answer = await load(url, { signal });
    ({ size, ended } = answer);
    return answer;
  }

  const atBottom = () => text.scrollHeight - text.scrollTop - text.clientHeight < 24;
  function toBottom() {
    text.scrollTop = text.scrollHeight;
  }

  // One thing at a time: what went on before is given up.
  async function run(work) {
    asking?.abort();
    const mine = (asking = new AbortController());
    try {
      await work(mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      say("stale", following ? `${error.message}; trying again` : error.message);
      setTimeout(() => !mine.signal.aborted && following && follow(), AGAIN);
    }
  }

  function open() {
    root.querySelector("a[download]").href = `${base()}?download=true`;
    view.clear();
    results.replaceChildren();
    searches++;
    following = true;
    say("connecting", "being fetched …");
    return run(async (signal) => {
      const answer = await ask({ tail: FIRST_LINES }, signal);
      view.append(answer, answer.pieces[0]?.offset ?? answer.next);
      if (form.elements.find.value) search();
      await goOn(signal, () => {
        if (failure()) toFailure();
      });
    });
  }

  // To the end, and then with what comes.
  async function goOn(signal, atEnd) {
    while (view.next < size) {
      const from = view.next;
      view.append(await ask({ offset: from }, signal), from);
      if (view.next === from) break;
    }
    toBottom();
    atEnd?.();
    while (ended === null && following) {
      say("live", "live");
      if (size - view.next > FAR) {
        // It grows faster than anybody reads: on with its end, what lies between is a click away.
        view.clear();
        const answer = await ask({ tail: FIRST_LINES }, signal);
        view.append(answer, answer.pieces[0]?.offset ?? answer.next);
        toBottom();
      }
      const from = view.next;
      const answer = await ask({ offset: from, follow: true }, signal);
      if (answer.next > from || answer.ended !== null) {
        const stay = atBottom();
        view.append(answer, from);
        if (stay) toBottom();
      }
      await new Promise((done) => setTimeout(done, PAUSE));
      signal.throwIfAborted();
    }
    if (ended !== null) say("ended", `ended ${new Date(ended * 1000).toLocaleString()}`);
  }

  function follow() {
    following = true;
    // Far behind: what lies between is a click away, and not what was asked for.
    if (!view.pages.length || size - view.next > 4 * PAGE) return open();
    return run((signal) => goOn(signal));
  }

  function pause(why) {
    if (!following || ended !== null) return;
    following = false;
    asking?.abort();
    say("paused", `paused: ${why}`);
  }

  function stand() {
    if (ended !== null && view.next >= size) say("ended", `ended ${new Date(ended * 1000).toLocaleString()}`);
    else say("paused", "paused: this is not the end of the log");
  }

  function earlier() {
    following = false;
    return run(async (signal) => {
      const answer = await ask({ before: view.first }, signal);
      const from = answer.pieces[0]?.offset ?? 0;
      view.prepend(answer, Math.min(from, view.first));
      stand();
    });
  }

  function later() {
    return run(async (signal) => {
      const from = view.next;
      view.append(await ask({ offset: from }, signal), from);
      stand();
    });
  }

  function showMatch(match) {
    following = false;
    return run(async (signal) => {
      view.clear();
      const page = view.append(await ask({ offset: match.offset }, signal), match.offset);
      const line = page.element.firstElementChild;
      if (match.offset > 0) {
        const answer = await ask({ before: match.offset, limit: 32 * 1024 }, signal);
        view.prepend(answer, answer.pieces[0]?.offset ?? 0);
      }
      view.mark(line);
      text.focus({ preventScroll: true });
      stand();
    });
  }

  function toFailure() {
    // The cause as the operator has it begins with the line that the program printed.
    const wanted = failure().split("\n")[0].slice(0, 120).trim();
    const line = (wanted && view.findLast((one) => one.includes(wanted))) || view.findLast((one) => TROUBLE.test(one));
    if (line) {
      pause("this is where it failed");
      view.mark(line);
    } else if (!atBottom()) toBottom();
  }

  async function search() {
    const mine = ++searches;
    const wanted = form.elements.find.value;
    const note = root.querySelector("[data-found]");
    setQuery({ find: wanted });
    results.replaceChildren();
    if (!wanted) {
      note.textContent = "";
      return;
    }
    note.textContent = "searching …";
    const url = new URL(base(), location.href);
    url.search = new URLSearchParams({ grep: wanted, limit: 200, context: 2, ignore_case: !form.elements.cased.checked });
    try {
      const found = await load(url);
      if (mine !== searches) return;
      const count = found.matches.length;
      note.textContent = !count ? "no line matches" : `${found.more ? "the first " : ""}${count} ${count === 1 ? "line" : "lines"}`;
      results.append(...found.matches.map((match) => matchItem(match, showMatch)));
    } catch (error) {
      if (mine === searches) note.textContent = error.message;
    }
  }

  // A new attempt has a log of its own; who follows goes on with it.
  // A log begins without anything else changing, so while a run that goes on has none it is looked for.
  let looked = 0;
  let due = null;
  function look() {
    due ??= setTimeout(async () => {
      await lookNow().catch(() => null); // the panel itself says what it cannot do
      due = null;
      if (!chooser.value && root.dataset.open !== undefined) look();
    }, Math.max(0, looked + LOOK - Date.now()));
  }
  async function lookNow() {
    looked = Date.now();
    const found = await load(`${root.dataset.src}/logs`);
    if (found.uid !== root.dataset.uid) return; // of an earlier one of this name
    const known = new Map([...chooser.options].map((one) => [one.value, one]));
    let newest = null;
    for (const { attempt } of found.items) {
      if (known.has(String(attempt))) continue;
      newest = new Option(`attempt ${attempt}`, String(attempt));
      chooser.prepend(newest);
    }
    const mine = found.items.find((one) => String(one.attempt) === chooser.value);
    if (newest && (following || !chooser.value)) {
      newest.selected = true;
      root.querySelector("[data-none]").hidden = true;
      for (const one of root.querySelectorAll("[data-some]")) one.hidden = false;
      open();
    } else if (mine && ended !== null && mine.ended === null) follow(); // a resumed run goes on in the same log
  }

  chooser.addEventListener("change", () => {
    setQuery({ attempt: chooser.value });
    open();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  root.querySelector("input[name=wrap]").addEventListener("change", (event) => text.classList.toggle("wrapped", event.target.checked));
  buttons.follow.addEventListener("click", follow);
  buttons.earlier.addEventListener("click", earlier);
  buttons.later.addEventListener("click", later);
  buttons.failure.addEventListener("click", toFailure);
  // Only a person's own scrolling pauses: wheel, touch, keys. What we scroll ourselves does not.
  for (const kind of ["wheel", "touchmove", "keyup", "pointerup"]) {
    text.addEventListener(kind, () => requestAnimationFrame(() => (atBottom() ? null : pause("you scrolled up"))), { passive: true });
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) pause("the tab is hidden");
    else if (sign.textContent.endsWith("hidden")) follow();
  });
  document.addEventListener("ork:changed", look);
  document.body.addEventListener("htmx:afterSettle", () => {
    for (const one of chooser.options) {
      const outcome = row(one.value)?.dataset.outcome;
      const label = `attempt ${one.value}${outcome ? `, ${outcome}` : ""}`;
      if (outcome && one.textContent !== label) one.textContent = label;
    }
    say(sign.dataset.state, sign.textContent);
  });

  const wanted = query().get("attempt");
  if (wanted && [...chooser.options].some((one) => one.value === wanted)) chooser.value = wanted;
  // What somebody has typed before this ran stays.
  form.elements.find.value ||= query().get("find") ?? "";
  if (chooser.value) return open();
  say("none", "");
  look();
}
