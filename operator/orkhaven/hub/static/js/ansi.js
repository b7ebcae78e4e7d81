// What a program prints for a terminal, as spans of text. Nothing of it ever becomes markup: text nodes and our own class
// names only.
const SEQUENCE = /\x1b(?:\[([0-9;:]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;
// What is left of control characters has no picture, and some of them turn the order of text around.
const INVISIBLE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

export const clean = (text) => text.replace(SEQUENCE, "").replace(INVISIBLE, "");

// A progress bar writes over itself: of what carriage returns separate, the last that says something.
export function collapse(line) {
  let end = line.length;
  while (end > 0 && line[end - 1] === "\r") end -= 1;
  return line.slice(line.lastIndexOf("\r", end - 1) + 1, end);
}

function apply(style, codes) {
  const numbers = codes.split(/[;:]/).map(Number);
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at];
    if (code === 0) Object.assign(style, { fore: null, back: null, bold: false, faint: false, underline: false });
    else if (code === 1) style.bold = true;
    else if (code === 2) style.faint = true;
    else if (code === 4) style.underline = true;
    else if (code === 22) style.bold = style.faint = false;
    else if (code === 24) style.underline = false;
    else if (code >= 30 && code <= 37) style.fore = code - 30;
    else if (code === 39) style.fore = null;
    else if (code >= 40 && code <= 47) style.back = code - 40;
    else if (code === 49) style.back = null;
    else if (code >= 90 && code <= 97) style.fore = code - 82;
    else if (code >= 100 && code <= 107) style.back = code - 92;
    else if (code === 38 || code === 48) {
      // Of 256 colours the first 16 are these; of the others the text is enough.
      const indexed = numbers[at + 1] === 5;
      const colour = indexed && numbers[at + 2] < 16 ? numbers[at + 2] : null;
      if (code === 38) style.fore = colour;
      else style.back = colour;
      at += indexed ? 2 : 4;
    }
  }
}

function classes(style) {
  const names = [];
  if (style.fore !== null) names.push(`f${style.fore}`);
  if (style.back !== null) names.push(`b${style.back}`);
  for (const name of ["bold", "faint", "underline"]) if (style[name]) names.push(name);
  return names.join(" ");
}

// One line into an element. Colours do not go on to the next line: the page may begin anywhere in the log.
export function paint(element, line) {
  const style = { fore: null, back: null, bold: false, faint: false, underline: false };
  const parts = [];
  let from = 0;
  const add = (text) => {
    const shown = text.replace(INVISIBLE, "");
    if (!shown) return;
    const names = classes(style);
    if (!names) {
      parts.push(shown);
      return;
    }
    const span = document.createElement("span");
    span.className = names;
    span.textContent = shown;
    parts.push(span);
  };
  for (const match of line.matchAll(SEQUENCE)) {
    add(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") apply(style, match[1]);
  }
  add(line.slice(from));
  element.replaceChildren(...parts);
}
