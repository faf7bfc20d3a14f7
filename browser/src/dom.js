// Elements of the page. What comes from a model or a file is only ever put in as text.

export const find = (id) => document.getElementById(id);

export function element(name, content, kind) {
  const made = document.createElement(name);
  made.append(...(Array.isArray(content) ? content : [content]));
  if (kind) made.className = kind;
  return made;
}

export function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}

export function named(label) {
  if (typeof label === "number") return String(Number(label.toPrecision(6)));
  return Array.isArray(label) ? label.join(", ") || "none" : label;
}

// To let the browser draw and take input.
export function breathe() {
  return new Promise((resume) => setTimeout(resume));
}
