// The lines of a log on the screen: a window of whole pages, a bounded number of lines, whatever the log's size.
import { clean, collapse, paint } from "./ansi.js";

const MOST_LINES = 5000;
const MOST_SHOWN = 4000; // characters of a line
const MOST_HELD = 64 * 1024; // characters of a line that has not ended

export class LogView {
  constructor(element) {
    this.element = element;
    this.pages = [];
    this.lines = 0;
  }

  get first() {
    return this.pages[0]?.start ?? 0;
  }

  get next() {
    return this.pages.at(-1)?.next ?? 0;
  }

  clear() {
    this.pages = [];
    this.lines = 0;
    this.element.replaceChildren();
  }

  // What came after the last page.
  append(answer, start) {
    const page = this.#page(answer, start, this.pages.at(-1)?.open);
    this.pages.push(page);
    this.element.append(page.element);
    this.lines += page.count;
    while (this.lines > MOST_LINES && this.pages.length > 1) this.#drop(this.pages.shift());
    return page;
  }

  // What stands before the first page; the place that is looked at stays where it is.
  prepend(answer, start) {
    const page = this.#page(answer, start, null);
    page.next = this.first;
    page.open = null;
    const height = this.element.scrollHeight;
    this.pages.unshift(page);
    this.element.prepend(page.element);
    this.lines += page.count;
    this.element.scrollTop += this.element.scrollHeight - height;
    while (this.lines > MOST_LINES && this.pages.length > 1) this.#drop(this.pages.pop());
    return page;
  }

  #drop(page) {
    page.element.remove();
    this.lines -= page.count;
  }

  // From below, the first line for which `wanted` holds.
  findLast(wanted) {
    for (const page of this.pages.toReversed()) {
      for (let line = page.element.lastElementChild; line; line = line.previousElementSibling) {
        if (!line.classList.contains("remark") && wanted(line.textContent)) return line;
      }
    }
    return null;
  }

  mark(line) {
    this.element.querySelector(".hit")?.classList.remove("hit");
    line.classList.add("hit");
    // Only this element moves, never the whole page.
    const off = line.getBoundingClientRect().top - this.element.getBoundingClientRect().top;
    this.element.scrollTop += off - this.element.clientHeight / 3;
  }

  #page(answer, start, open) {
    const element = document.createElement("div");
    const page = { element, start, next: answer.next, count: 0, open: null };
    const notes = answer.notes.filter(
      (note) => note.offset >= start && (note.offset < answer.next || (answer.ended !== null && answer.next >= answer.size)) && !this.#says(note),
    );
    page.notes = notes;
    const waiting = [...notes];
    const add = (line) => {
      element.append(line);
      page.count += 1;
    };
    let place = start;
    for (const piece of answer.pieces) {
      const gap = answer.kept.findIndex(([first]) => first === piece.offset);
      if (piece.offset > place && gap >= 0) {
        const from = gap > 0 ? answer.kept[gap - 1][1] : 0;
        add(remark(`${(piece.offset - from).toLocaleString()} bytes are left out here: of a long log only the beginning and the end are kept`));
        open = null;
      }
      place = piece.offset;
      const lines = piece.text.split("\n");
      const last = lines.pop();
      for (const text of lines) {
        while (waiting.length && waiting[0].offset <= place) add(remark(waiting.shift().text));
        if (open) {
          open.add(text);
          open = null;
        } else add(new Line(text).element);
        if (waiting.length) place += bytes(text) + 1;
      }
      if (last) {
        if (open) open.add(last);
        else {
          open = new Line(last);
          add(open.element);
        }
      } else if (lines.length) open = null;
    }
    for (const note of waiting) add(remark(note.text));
    page.open = waiting.length ? null : open;
    return page;
  }

  #says(note) {
    return this.pages.some((page) => page.notes.some((one) => one.offset === note.offset && one.time === note.time));
  }
}

const bytes = (text) => new TextEncoder().encode(text).length;

function remark(text) {
  const line = document.createElement("div");
  line.className = "remark";
  line.textContent = text;
  return line;
}

class Line {
  constructor(text) {
    this.element = document.createElement("div");
    this.held = "";
    this.more = 0;
    this.add(text);
  }

  // More of a line that has not ended: a progress bar, say.
  add(text) {
    const whole = this.held + text;
    const shown = collapse(whole);
    // What was written over will not be seen again.
    this.held = whole.slice(Math.max(0, whole.lastIndexOf(shown)));
    if (this.held.length > MOST_HELD) {
      this.more += this.held.length - MOST_HELD;
      this.held = this.held.slice(0, MOST_HELD);
    }
    paint(this.element, shown.slice(0, MOST_SHOWN));
    const hidden = Math.max(0, shown.length - MOST_SHOWN) + this.more;
    if (hidden) {
      const rest = document.createElement("small");
      rest.textContent = ` … ${hidden.toLocaleString()} more characters in this line: download the log`;
      this.element.append(rest);
    }
  }
}

// A match of a search with the lines around it.
export function matchItem(match, show) {
  const item = document.createElement("li");
  const text = document.createElement("pre");
  const around = (lines) => {
    const part = document.createElement("span");
    part.className = "muted";
    part.textContent = lines.map((line) => `${clean(collapse(line))}\n`).join("");
    return part;
  };
  const hit = document.createElement("mark");
  hit.textContent = clean(match.text.slice(match.start, match.end));
  text.append(around(match.before), clean(match.text.slice(0, match.start)), hit, `${clean(match.text.slice(match.end))}\n`, around(match.after));
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = "Show in the log";
  button.addEventListener("click", () => show(match));
  item.append(text, button);
  return item;
}
