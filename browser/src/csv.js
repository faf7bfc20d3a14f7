// Tables as text: RFC 4180, with a comma or a tab.

// Rows of cells; empty lines are left out.
export function parse(text, separator) {
  const rows = [];
  let [row, cell, quoted] = [[], "", false];
  const next = () => {
    row.push(cell);
    cell = "";
  };
  const end = () => {
    next();
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  };
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') cell += text[(at += 1)];
      else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === separator) next();
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && text[at + 1] === "\n") at += 1;
      end();
    } else cell += letter;
  }
  if (cell !== "" || row.length) end();
  if (quoted) throw new Error("a cell has an opening quotation mark and no closing one");
  return rows;
}

export function written(rows) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return rows.map((row) => `${row.map((value) => cell(String(value))).join(",")}\r\n`).join("");
}
