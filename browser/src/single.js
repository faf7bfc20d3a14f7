// One text, answered while it is typed.

import { element, find, named, percent } from "./dom.js";

const FEW = 6; // labels that are shown at first

export function start(classifier) {
  const { labels, pair } = classifier.manifest;
  let [busy, again, all, last] = [false, false, false, null];
  find("pair-label").hidden = pair === false;
  if (pair === null) find("pair-name").textContent = "Second text (may be left out)";

  function input() {
    const [text, second] = [find("text").value, find("pair").value];
    const several = pair === true || (pair === null && second !== "");
    return { text, second: several ? second : null, empty: text === "" && (!several || second === "") };
  }

  function bar(place, chance) {
    const fill = element("div", []);
    fill.style.width = `${100 * chance}%`;
    const track = element("div", fill, "track");
    track.setAttribute("aria-hidden", "true");
    return element("li", [element("span", labels[place], "name"), track, element("span", percent(chance), "chance")]);
  }

  function draw() {
    const { answer, milliseconds } = last;
    const order = answer.probabilities.map((chance, place) => [place, chance]).sort((one, other) => other[1] - one[1]);
    const shown = all ? order : order.slice(0, FEW);
    const told = named(answer.label);
    if (find("label").textContent !== told) find("label").textContent = told; // or a screen reader would say it again
    find("unsure").hidden = answer.confident !== false;
    find("bars").replaceChildren(...shown.map(([place, chance]) => bar(place, chance)));
    find("more").hidden = order.length <= FEW;
    find("more").textContent = all ? "Fewer labels" : `All ${order.length} labels`;
    find("time").textContent = `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
    find("answer").hidden = false;
  }

  async function run() {
    again = busy; // the last text wins
    if (busy) return;
    const { text, second, empty } = input();
    if (empty) {
      find("answer").hidden = true;
      return;
    }
    busy = true;
    try {
      const started = performance.now();
      const [answer] = await classifier.classify([text.toWellFormed()], second === null ? null : [second.toWellFormed()]);
      last = { answer, milliseconds: performance.now() - started };
      draw();
    } catch (error) {
      find("answer").hidden = false;
      find("label").textContent = error.message;
      find("bars").replaceChildren();
    }
    busy = false;
    if (again) setTimeout(run);
  }

  for (const name of ["text", "pair"]) find(name).addEventListener("input", run);
  find("more").addEventListener("click", () => {
    all = !all;
    draw();
  });
  run(); // a browser may have kept the text of the last visit
}
