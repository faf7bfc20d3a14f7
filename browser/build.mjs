// One HTML file that classifies texts in a browser without any network: node build.mjs EXPORTED_FOLDER page.html

import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { FolderError, readFolder, reason } from "./folder.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const REPORT_STYLE = join(HERE, "../src/augpro/report/templates/report.css"); // the page looks as the reports do
const RUNTIME = join(HERE, "node_modules/onnxruntime-web");
const TOKENIZERS = join(HERE, "node_modules/@huggingface/tokenizers");
const WASM = "dist/ort-wasm-simd-threaded.wasm"; // the smallest of the package: no WebGPU

async function main([folder, out, ...more]) {
  if (!out || more.length) throw new FolderError("give the exported folder and the file to write: node build.mjs EXPORTED_FOLDER page.html.");
  const { manifest, contents } = readFolder(folder);
  const { build } = await libraries();
  const { unsupported } = await import("./src/reader.js");
  const why = unsupported(JSON.parse(contents["tokenizer.json"]));
  if (why) {
    throw new FolderError(`${join(folder, "tokenizer.json")}: this page cannot split texts into the tokens of this model, as ${why}; run it with augpro-runtime.`);
  }
  const script = await bundle(build);
  const style = `${readFileSync(REPORT_STYLE, "utf-8")}${readFileSync(join(HERE, "src/page.css"), "utf-8")}`;
  const parts = {
    wasm: readFileSync(join(RUNTIME, WASM)),
    model: contents["model.onnx"],
    tokenizer: contents["tokenizer.json"],
    manifest: Buffer.from(JSON.stringify(manifest)),
  };
  const page = filled(readFileSync(join(HERE, "src/page.html"), "utf-8"), {
    policy: policy(script, style),
    style,
    script,
    title: escaped(manifest.exported_from || "classifier"),
    versions: escaped(`onnxruntime-web ${version(RUNTIME)}, @huggingface/tokenizers ${version(TOKENIZERS)}`),
    licence: escaped(readFileSync(join(TOKENIZERS, "LICENSE"), "utf-8")),
    parts: Object.entries(parts).map(([name, content]) => (
      `<script type="application/octet-stream" id="part-${name}">${gzipSync(content, { level: 9 }).toString("base64")}</script>`)).join("\n"),
  });
  try {
    writeFileSync(`${out}.part`, page);
    renameSync(`${out}.part`, out);
  } catch (error) {
    throw new FolderError(`${out}: cannot be written (${reason(error)}); choose another file.`);
  }
  console.log(`${out}: ${(page.length / 1e6).toFixed(1)} MB, ${manifest.labels.length} ${manifest.labels.length === 1 ? "label" : "labels"}`);
}

async function libraries() {
  try {
    readFileSync(join(RUNTIME, "package.json"));
    return await import("esbuild");
  } catch {
    throw new FolderError(`${join(HERE, "node_modules")}: the libraries of the page are missing; run npm ci in ${HERE}.`);
  }
}

async function bundle(build) {
  const made = await build({
    entryPoints: [join(HERE, "src/main.js")], bundle: true, minify: true, write: false, format: "esm",
    target: "es2022", charset: "utf8", legalComments: "inline", logLevel: "error", external: ["module", "worker_threads"],
    define: { "import.meta.url": "undefined" },
  });
  const script = made.outputFiles[0].text;
  if (/<!--|<\/?script/i.test(script)) throw new Error("the script would end its element");
  return script;
}

// Nothing may be loaded from anywhere, and nothing run but this script and its WebAssembly.
function policy(script, style) {
  const hash = (content) => `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
  return [
    "default-src 'none'", `script-src ${hash(script)} 'wasm-unsafe-eval'`, `style-src ${hash(style)}`,
    "base-uri 'none'", "form-action 'none'",
  ].join("; ");
}

function filled(template, values) {
  return template.replace(/\{\{ (\w+) \}\}/g, (_, name) => values[name]);
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function version(folder) {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf-8")).version;
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error instanceof FolderError ? error.message : error);
  process.exitCode = error instanceof FolderError ? 2 : 1;
});
