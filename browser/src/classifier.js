// The runtime's Classifier on WebAssembly: texts in, answers out.

import * as ort from "onnxruntime-web/wasm";
import { TextReader } from "./reader.js";

const BATCH = 32;

export class Classifier {
  static async load({ wasm, model, tokenizer, manifest }) {
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = "error";
    const made = new Classifier();
    made.manifest = manifest;
    made.decision = manifest.calibration;
    made.reader = new TextReader(JSON.parse(new TextDecoder().decode(tokenizer)), manifest);
    made.session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    made.last = Promise.resolve();
    return made;
  }

  // Answers in the order of the texts: { label, probability, probabilities, confident }. told(done) is called after each
  // batch, and stops the work by giving false.
  classify(texts, pairs = null, told = () => true) {
    this.check(texts, pairs);
    const work = () => this.answers(texts, pairs, told);
    const found = this.last.then(work, work); // the model runs one batch at a time
    this.last = found;
    return found;
  }

  async answers(texts, pairs, told) {
    const rows = texts.map((text, number) => ({ number, ...this.reader.read(text, pairs ? pairs[number] : null) }));
    const answers = new Array(rows.length);
    let done = 0;
    for (const batch of this.batches(rows)) {
      const logits = await this.run(batch);
      batch.forEach((row, place) => {
        answers[row.number] = this.answer(logits[place], row.number);
      });
      done += batch.length;
      if (told(done) === false) return null;
    }
    return answers;
  }

  check(texts, pairs) {
    const { pair } = this.manifest;
    if (pairs === null && pair) throw new TypeError("this model reads text pairs; give their second texts as pairs.");
    if (pairs !== null && pair === false) throw new TypeError("this model reads single texts; leave pairs out.");
    for (const [name, rows] of Object.entries(pairs === null ? { texts } : { texts, pairs })) {
      if (!Array.isArray(rows)) throw new TypeError(`${name} is no array; give an array of strings.`);
      rows.forEach((text, number) => {
        if (typeof text !== "string") throw new TypeError(`${name}[${number}] is ${text === null ? "null" : typeof text}, not a string; leave it out or convert it.`);
        if (/\p{Cs}/u.test(text)) throw new TypeError(`${name}[${number}] has half of a surrogate pair, which is no text; remove the character.`);
      });
    }
    if (pairs !== null && pairs.length !== texts.length) {
      throw new TypeError(`there are ${texts.length} texts and ${pairs.length} pairs; give one second text for each.`);
    }
  }

  // Rows in order of length, in batches; of one length each where padding would change the answer.
  batches(rows) {
    const sorted = rows.toSorted((one, other) => one.ids.length - other.ids.length);
    const found = [];
    for (const row of sorted) {
      const last = found.at(-1);
      const other = this.manifest.same_length && last?.[0].ids.length !== row.ids.length;
      if (!last || last.length === BATCH || other) found.push([row]);
      else last.push(row);
    }
    return found;
  }

  // Logits of a batch, an array for each row.
  async run(batch) {
    const length = Math.max(1, ...batch.map((row) => row.ids.length));
    const dims = [batch.length, length];
    const filled = (value) => new BigInt64Array(batch.length * length).fill(BigInt(value));
    const inputs = { input_ids: filled(this.manifest.pad_id), attention_mask: filled(0), token_type_ids: filled(0) };
    batch.forEach(({ ids, types }, place) => ids.forEach((id, column) => {
      const at = place * length + column;
      inputs.input_ids[at] = BigInt(id);
      inputs.attention_mask[at] = 1n;
      inputs.token_type_ids[at] = BigInt(types[column]);
    }));
    const fed = this.manifest.inputs.map((name) => [name, new ort.Tensor("int64", inputs[name], dims)]);
    const { logits } = await this.session.run(Object.fromEntries(fed));
    const classes = this.manifest.labels.length;
    return batch.map((_, place) => Array.from(logits.data.subarray(place * classes, (place + 1) * classes)));
  }

  answer(logits, number) {
    if (!logits.every(Number.isFinite)) throw new Error(`the logits of texts[${number}] are not numbers; export the model again.`);
    const { labels, problem_type: kind } = this.manifest;
    if (kind === "regression") return { label: logits[0], probability: NaN, probabilities: [], confident: null };
    const probabilities = this.probabilities(logits);
    const probability = Math.max(...probabilities);
    const threshold = this.decision?.threshold ?? null;
    return {
      label: kind === "multi_label" ? labels.filter((_, place) => probabilities[place] > 0.5)
        : labels[logits.indexOf(Math.max(...logits))],
      probability,
      probabilities,
      confident: this.decision ? threshold !== null && probability >= threshold : null,
    };
  }

  probabilities(logits) {
    const scaled = logits.map((value) => value / (this.decision?.temperature ?? 1));
    if (this.manifest.problem_type === "multi_label") return scaled.map((value) => 1 / (1 + Math.exp(-value)));
    const most = Math.max(...scaled);
    const powers = scaled.map((value) => Math.exp(value - most));
    const sum = powers.reduce((one, other) => one + other, 0);
    return powers.map((power) => power / sum);
  }
}
