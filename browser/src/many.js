// Many texts, from lines or a file, answered into a table.

import { parse, written } from "./csv.js";
import { breathe, element, find, named, percent } from "./dom.js";

const SHOWN = 200;
const BLOCK = 1024; // texts whose tokens are held at a time
const NAMES = ["text", "sentence", "sentence1", "premise", "question", "review", "utterance", "content"];
const PAIR_NAMES = ["pair", "text_pair", "text2", "sentence2", "hypothesis", "answer"];

export function start(classifier) {
  const { labels, pair, problem_type: kind } = classifier.manifest;
  const score = kind === "regression";
  let [table, answered, running] = [null, null, false];
  find("many-help").textContent = pair === false
    ? "Paste texts, one a line, or choose a file. A table needs a first row with the names of its columns."
    : "Paste pairs, one a line, with a tab between first and second text, or choose a file. A table needs a first row with the names of its columns.";
  find("pair-column-label").hidden = pair === false;

  const tell = (sentence) => {
    find("progress").textContent = sentence;
  };

  function options(select, names, wanted, none) {
    const choices = names.map((name, place) => new Option(name || `column ${place + 1}`, String(place)));
    select.replaceChildren(...(none ? [new Option("none", "")] : []), ...choices);
    const found = names.findIndex((name) => wanted.includes(name.trim().toLowerCase()));
    if (found >= 0) select.value = String(found);
  }

  async function take(file) {
    try {
      if (running) throw new Error("stop the work on other texts first");
      const content = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      const kindOfFile = file.name.split(".").at(-1).toLowerCase();
      if (!["txt", "csv", "tsv"].includes(kindOfFile)) throw new Error("its name does not end in .txt, .csv or .tsv");
      table = null;
      if (kindOfFile === "txt") find("lines").value = content;
      else {
        const [head, ...rows] = parse(content, kindOfFile === "csv" ? "," : "\t");
        if (!rows.length) throw new Error("it has no rows below the names of its columns");
        table = { head, rows };
        options(find("column"), head, NAMES, false);
        options(find("pair-column"), head, PAIR_NAMES, pair === null);
        find("lines").value = "";
      }
      find("columns").hidden = table === null;
      if (table) tell(`${file.name}: ${table.rows.length} rows`);
      else await run();
    } catch (error) {
      const reason = error instanceof TypeError ? "it is not UTF-8 text; save it as UTF-8" : error.message;
      tell(`${file.name} cannot be read: ${reason}.`);
    }
  }

  // { texts, pairs }, where pairs may be null.
  function input() {
    if (table) {
      const cells = (select) => table.rows.map((row) => row[Number(select.value)] ?? "");
      return { texts: cells(find("column")), pairs: pair === false || find("pair-column").value === "" ? null : cells(find("pair-column")) };
    }
    const lines = find("lines").value.split(/\r\n|\n|\r/);
    if (lines.at(-1) === "") lines.pop();
    const split = lines.map((line) => line.split("\t"));
    if (pair === false || (pair === null && split.every((cells) => cells.length < 2))) return { texts: lines, pairs: null };
    const wrong = split.findIndex((cells) => cells.length !== 2);
    if (wrong >= 0) throw new Error(`Line ${wrong + 1} is no pair: put one tab between its two texts.`);
    return { texts: split.map((cells) => cells[0]), pairs: split.map((cells) => cells[1]) };
  }

  function draw({ texts, pairs, answers }) {
    const names = ["text", ...(pairs ? ["second text"] : []), score ? "score" : "label", ...(score ? [] : ["probability"])];
    if (classifier.decision && !score) names.push("sure");
    const head = element("tr", names.map((name) => element("th", name)));
    for (const cell of head.children) cell.scope = "col";
    find("head").replaceChildren(head);
    find("rows").replaceChildren(...answers.slice(0, SHOWN).map((answer, place) => {
      const text = element("th", texts[place]);
      text.scope = "row";
      const cells = [text, ...(pairs ? [element("td", pairs[place], "name")] : []), element("td", named(answer.label), "name")];
      if (!score) cells.push(element("td", percent(answer.probability)));
      if (names.includes("sure")) cells.push(element("td", answer.confident ? "yes" : "ask the teacher", answer.confident ? "" : "warning"));
      return element("tr", cells);
    }));
    find("table").hidden = false;
    find("shown").hidden = answers.length <= SHOWN;
    find("shown").textContent = `The first ${SHOWN} of ${answers.length} texts are shown; the CSV file has all.`;
  }

  async function work({ texts, pairs }) {
    const started = performance.now();
    const answers = [];
    for (let from = 0; from < texts.length; from += BLOCK) {
      const block = (rows) => rows.slice(from, from + BLOCK).map((text) => text.toWellFormed());
      const found = await classifier.classify(block(texts), pairs && block(pairs), (done) => {
        tell(`${from + done} of ${texts.length}`);
        return running ? breathe() : false;
      });
      if (!running || found === null) return tell("Stopped.");
      answers.push(...found);
    }
    const milliseconds = performance.now() - started;
    answered = { texts, pairs, answers };
    draw(answered);
    find("save").hidden = false;
    const unsure = answers.filter((answer) => answer.confident === false).length;
    const each = `${(milliseconds / texts.length).toFixed(1)} ms a text`;
    return tell(`${texts.length} ${texts.length === 1 ? "text" : "texts"}, ${each}${unsure ? `, ${unsure} to ask the teacher about` : ""}`);
  }

  async function run() {
    if (running) return;
    running = true;
    for (const name of ["save", "table", "shown"]) find(name).hidden = true;
    find("go").disabled = true;
    find("stop").hidden = false;
    try {
      const given = input();
      if (given.texts.length) await work(given);
      else tell("There are no texts: paste some, or choose a file.");
    } catch (error) {
      tell(error.message);
    }
    running = false;
    find("go").disabled = false;
    find("stop").hidden = true;
  }

  function save() {
    const { texts, pairs, answers } = answered;
    const head = ["text", ...(pairs ? ["pair"] : []), "label"];
    const numbers = score ? [] : ["probability", "confident", ...labels.map((label) => `probability of ${label}`)];
    const rows = answers.map((answer, place) => [
      texts[place], ...(pairs ? [pairs[place]] : []), Array.isArray(answer.label) ? answer.label.join("|") : answer.label,
      ...(score ? [] : [answer.probability, answer.confident ?? "", ...answer.probabilities]),
    ]);
    const link = element("a", "answers");
    link.href = URL.createObjectURL(new Blob([written([[...head, ...numbers], ...rows])], { type: "text/csv" }));
    link.download = "answers.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  find("go").addEventListener("click", run);
  find("stop").addEventListener("click", () => {
    running = false;
  });
  find("save").addEventListener("click", save);
  find("lines").addEventListener("input", () => {
    table = null;
    find("columns").hidden = true;
  });
  find("file").addEventListener("change", () => {
    const [file] = find("file").files;
    if (file) take(file);
    find("file").value = ""; // so that the same file can be chosen again
  });
  const drop = find("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  }
}
