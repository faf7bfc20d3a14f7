// Starts the page. Other programs may call window.classify(texts, pairs), which waits for the start.

import { Classifier } from "./classifier.js";
import { breathe, element, find } from "./dom.js";
import * as many from "./many.js";
import { part } from "./parts.js";
import * as single from "./single.js";

const NAMES = ["wasm", "model", "tokenizer", "manifest"];
const begun = performance.now();

async function load() {
  await breathe(); // so that what happens is shown first
  const contents = {};
  for (const name of NAMES) contents[name] = await part(name);
  const sizes = Object.fromEntries(NAMES.map((name) => [name, contents[name].length]));
  const manifest = JSON.parse(new TextDecoder().decode(contents.manifest));
  return { classifier: await Classifier.load({ ...contents, manifest }), sizes };
}

function facts({ manifest, decision }, sizes) {
  const mega = (size) => `${(size / 1e6).toFixed(1)} MB`;
  const threshold = decision?.threshold ?? null;
  const told = {
    Model: manifest.exported_from || "classifier",
    Labels: manifest.labels.join(", "),
    "Longest text": `${manifest.max_tokens} tokens; the rest is cut`,
    Size: `model ${mega(sizes.model)}, WebAssembly ${mega(sizes.wasm)}, tokenizer ${mega(sizes.tokenizer)}`,
    Start: `${Math.round(performance.now() - begun)} ms`,
    "Sure enough": decision ? (threshold === null ? "never: no threshold gives the agreement asked for" : `from a probability of ${threshold}, at temperature ${decision.temperature}`)
      : "not calibrated",
  };
  find("facts").replaceChildren(...Object.entries(told).map(([name, value]) => (
    element("div", [element("dt", name), element("dd", value)]))));
}

function theme() {
  const root = document.documentElement;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme || (prefersDark.matches ? "dark" : "light");
  const name = () => {
    find("theme").textContent = now() === "dark" ? "Light theme" : "Dark theme";
  };
  find("theme").addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    name();
  });
  prefersDark.addEventListener("change", name);
  name();
  find("theme").hidden = false;
}

async function start() {
  document.body.classList.add("started");
  find("status").textContent = "Starting: the model is unpacked.";
  theme();
  const loading = load();
  window.classify = async (texts, pairs = null) => (await loading).classifier.classify(texts, pairs);
  try {
    const { classifier, sizes } = await loading;
    find("main").hidden = false;
    find("status").hidden = true;
    facts(classifier, sizes);
    single.start(classifier);
    many.start(classifier);
  } catch (error) {
    const reason = error.message.replace(/\s+/g, " ").replace(/\.$/, "");
    find("status").className = "failed";
    find("status").textContent = `This page could not start (${reason}); get the file again, or use a browser of 2023 or later.`;
  }
}

start();
