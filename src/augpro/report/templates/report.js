"use strict";
// Sorting, the theme, and the explorer of augmented texts. Texts reach the page as text nodes only.
(() => {
  const PAGE = 50;
  const [GROUP, ROW, ORIGINAL, AUGMENTED, BEFORE, AFTER, SURE_BEFORE, SURE_AFTER] = [0, 1, 2, 3, 4, 5, 6, 7];
  const find = (id) => document.getElementById(id);

  // --- tables ---

  function compare(one, other) {
    if (one === "" || other === "") return (one === "") - (other === "");
    const numbers = [Number(one), Number(other)];
    return numbers.some(Number.isNaN) ? one.localeCompare(other, "en") : numbers[0] - numbers[1];
  }

  function sort(button) {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = [...header.parentNode.children].indexOf(header);
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.children[column].dataset.value;
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => {
      const [left, right] = [value(one), value(other)];
      const missing = left === "" || right === ""; // what has no value stays last either way
      return descending && !missing ? compare(right, left) : compare(left, right);
    });
    table.tBodies[0].append(...rows);
  }

  for (const button of document.querySelectorAll("button.sort")) {
    button.addEventListener("click", () => sort(button));
  }

  // --- theme ---

  const root = document.documentElement;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (prefersDark.matches ? "dark" : "light");
  const nameTheme = () => {
    find("theme").textContent = theme() === "dark" ? "Light theme" : "Dark theme";
  };
  find("theme").addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    nameTheme();
  });
  prefersDark.addEventListener("change", nameTheme);
  nameTheme();
  find("theme").hidden = false;

  // --- texts ---

  const { groups, texts } = JSON.parse(find("data").textContent);
  if (!texts.length) return;
  const filters = find("filters");
  const folded = texts.map((text) => [ORIGINAL, AUGMENTED].map((side) => join(text[side]).toLowerCase()));
  const studies = [...document.querySelectorAll("main h2[id^=study-]")].map((title) => title.textContent);
  let page = 0;
  let shown = [];

  function join(runs) {
    return runs.filter((run) => run !== "").join(" ");
  }

  function element(name, content, kind) {
    const made = document.createElement(name);
    made.append(...(Array.isArray(content) ? content : [content]));
    if (kind) made.className = kind;
    return made;
  }

  function fill(select, all, options) {
    select.replaceChildren(new Option(all, ""), ...options.map(([value, name]) => new Option(name, value)));
  }

  function groupName(group) {
    return new Set(groups.map((one) => one.study)).size > 1 ? `${studies[group.study]}: ${group.method}` : group.method;
  }

  function labels(column) {
    const names = texts.filter((text) => text[SURE_BEFORE] !== null).map((text) => text[column]);
    return [...new Set(names)].sort((one, other) => one.localeCompare(other, "en")).map((name) => [name, name]);
  }

  function wanted(text, index) {
    const chosen = { method: find("method").value, before: find("before").value, after: find("after").value };
    const least = Number(find("least").value) || 0;
    const words = find("words").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return (chosen.method === "" || text[GROUP] === Number(chosen.method))
      && (chosen.before === "" || text[BEFORE] === chosen.before)
      && (chosen.after === "" || text[AFTER] === chosen.after)
      && (!find("flips").checked || text[BEFORE] !== text[AFTER])
      && (least === 0 || text[SURE_AFTER] >= least)
      && words.every((word) => folded[index].some((side) => side.includes(word)));
  }

  function side(name, runs, tag, label, sure) {
    const parts = runs.flatMap((run, number) => {
      if (run === "") return [];
      return [number % 2 ? element(tag, run) : run, " "];
    });
    const chance = sure === null ? "" : ` ${sure.toFixed(2)}`;
    return element("p", [element("span", `${name}: ${label}${chance}`, "label"), ...parts]);
  }

  function item(text) {
    const flipped = text[SURE_BEFORE] !== null && text[BEFORE] !== text[AFTER];
    const about = element("p", [element("b", groupName(groups[text[GROUP]])), `, row ${text[ROW]}`], "about");
    if (flipped) about.append(", ", element("span", "label flip", "badge"));
    const sides = [
      side("Original", text[ORIGINAL], "del", text[BEFORE], text[SURE_BEFORE]),
      side("Augmented", text[AUGMENTED], "ins", text[AFTER], text[SURE_AFTER]),
    ];
    return element("li", [about, element("div", sides, "sides")]);
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    find("list").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(item));
    find("count").textContent = `${shown.length} of ${texts.length} texts, page ${page + 1} of ${pages}`;
    find("previous").disabled = page === 0;
    find("next").disabled = page === pages - 1;
  }

  function filter() {
    page = 0;
    shown = texts.filter(wanted);
    draw();
  }

  function turn(step) {
    page += step;
    draw();
    find("pager").scrollIntoView({ block: "start" });
  }

  fill(find("method"), "all methods", groups.map((group, number) => [number, groupName(group)]));
  fill(find("before"), "any", labels(BEFORE));
  fill(find("after"), "any", labels(AFTER));
  // A list changed by a program, such as an assistive one, says "change" alone.
  for (const kind of ["input", "change"]) filters.addEventListener(kind, filter);
  filters.addEventListener("reset", () => window.setTimeout(filter)); // after the form has been emptied
  filters.addEventListener("submit", (event) => event.preventDefault());
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  filters.hidden = find("pager").hidden = false;
  filter();
})();
