// Reading a folder of `augpro export`, with the checks of the runtime.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

const FORMAT = 1;
const MANIFEST = "augpro.json";
const FILES = ["model.onnx", "tokenizer.json"];
const MOST_BYTES = 2 ** 31 - 1;
const KINDS = ["single_label", "multi_label", "regression"];
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|-?Infinity|NaN|true|false|null|[[\]{}:,]/g;

export class FolderError extends Error {}

// { manifest, contents: { "model.onnx": bytes, "tokenizer.json": bytes } }, whose checksums are right.
export function readFolder(folder) {
  const again = "export or copy the folder again";
  const path = join(folder, MANIFEST);
  let text, manifest;
  try {
    text = readFileSync(path, "utf-8");
  } catch (error) {
    throw new FolderError(`${folder}: no exported model here (${MANIFEST}: ${reason(error)}); make one: augpro export --model STUDENT --out FOLDER.`);
  }
  try {
    manifest = parse(text);
  } catch (error) {
    throw new FolderError(`${path}: cannot be used (${reason(error)}); ${again}.`);
  }
  const contents = Object.fromEntries(FILES.map((name) => {
    const packed = `${name}.gz` in manifest.files;
    const file = packed ? `${name}.gz` : name;
    let content;
    try {
      content = readFileSync(join(folder, file));
    } catch (error) {
      throw new FolderError(`${join(folder, file)}: cannot be read (${reason(error)}); ${again}.`);
    }
    if (hash(content) !== manifest.files[file]) {
      throw new FolderError(`${join(folder, file)}: not the file that was exported (its SHA-256 differs); ${again}.`);
    }
    try {
      return [name, packed ? gunzipSync(content, { maxOutputLength: MOST_BYTES }) : content];
    } catch (error) {
      throw new FolderError(`${join(folder, file)}: no gzip file (${reason(error)}); ${again}.`);
    }
  }));
  return { manifest, contents };
}

function parse(text) {
  const { value, canonical } = read(text);
  if (value === null || typeof value !== "object" || !("format" in value)) throw new Error("it has no format number");
  if (value.format !== FORMAT) throw new Error(`it has format ${value.format}, this version reads ${FORMAT}`);
  if (hash(canonical) !== value.checksum) throw new Error("its content is not what was written");
  if (!KINDS.includes(value.problem_type) || !value.labels?.length) throw new Error("its labels or its problem type are missing");
  return value;
}

// The value of a JSON text of Python, and the text without spaces and without its checksum, in order of the keys. The
// checksum is that of this text. Numbers stay as they were written, as 1.0 is not 1 there.
function read(text) {
  const tokens = text.match(TOKENS) ?? [];
  if (/[^ \t\n\r]/.test(text.replace(TOKENS, ""))) throw new Error("it is not JSON");
  let at = 0;
  function many(end, each) {
    const found = [];
    while (tokens[at] !== end) {
      if (at >= tokens.length) throw new Error("it ends too early");
      found.push(each());
      if (tokens[at] === ",") at += 1;
      else if (tokens[at] !== end) throw new Error("it is not JSON");
    }
    at += 1;
    return found;
  }
  function any() {
    const token = tokens[at++];
    if (token === "[") {
      const items = many("]", any);
      return { value: items.map((item) => item.value), canonical: `[${items.map((item) => item.canonical).join(",")}]` };
    }
    if (token === "{") {
      const items = many("}", () => {
        const name = any();
        if (tokens[at++] !== ":") throw new Error("a name has no value");
        return [name, any()];
      });
      const kept = items.filter(([name]) => name.value !== "checksum").sort(([one], [other]) => (one.value < other.value ? -1 : 1));
      return {
        value: Object.fromEntries(items.map(([name, item]) => [name.value, item.value])),
        canonical: `{${kept.map(([name, item]) => `${name.canonical}:${item.canonical}`).join(",")}}`,
      };
    }
    if (token?.startsWith('"')) {
      const value = JSON.parse(token);
      const escaped = (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
      return { value, canonical: JSON.stringify(value).replace(/[^ -~]/g, escaped) };
    }
    if (token === undefined) throw new Error("it ends too early");
    return { value: /NaN|Infinity/.test(token) ? null : JSON.parse(token), canonical: token };
  }
  return any();
}

function hash(content) {
  return createHash("sha256").update(content).digest("hex");
}

export function reason(error) {
  const told = { ENOENT: "No such file or directory", ENOTDIR: "Not a directory", EACCES: "Permission denied" }[error.code];
  return (told ?? error.message).replace(/\s+/g, " ");
}
