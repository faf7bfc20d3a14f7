// Texts to token ids as the runtime's TextReader makes them: cut at the maximum length, and with no special token
// that a text spells out.

import { Tokenizer } from "@huggingface/tokenizers";
import { normalize, split } from "./bert.js";

// As in the library, but with the white space of the runtime: U+0085, not U+FEFF.
const BYTE_LEVEL_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const WORD_SPLITTERS = { BertPreTokenizer: () => split, ByteLevel: byteLevel };
const NORMALIZERS = [undefined, "BertNormalizer", "NFC"];
const MODELS = ["WordPiece", "BPE"];
const FRAMES = [undefined, "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel"];

function byteLevel(own) {
  own.pattern = BYTE_LEVEL_WORDS;
  return (text) => own.pre_tokenize_text(text);
}

// Why a tokenizer.json cannot be read here with the runtime's tokens, as the end of a sentence; null if it can.
export function unsupported(definition) {
  const { normalizer, pre_tokenizer: splitter, model } = definition;
  const part = (name, kind) => `its tokenizer has the ${name} ${kind ?? "none"}`;
  if (!NORMALIZERS.includes(normalizer?.type)) return part("normalizer", normalizer.type);
  if (!Object.hasOwn(WORD_SPLITTERS, splitter?.type ?? "") || splitter.use_regex === false) {
    return part("pre-tokenizer", splitter?.type);
  }
  if (!MODELS.includes(model.type)) return part("model", model.type);
  if (model.dropout || model.continuing_subword_prefix === undefined && model.type === "WordPiece") {
    return part("model", "with dropout or without a prefix");
  }
  const unknown = frames(definition).find((one) => !FRAMES.includes(one?.type));
  if (unknown) return part("post-processor", unknown.type);
  if (definition.added_tokens.some((token) => !token.special)) return "its tokenizer has added words";
  return null;
}

function frames({ post_processor: frame }) {
  return frame?.type === "Sequence" ? frame.processors : [frame];
}

export class TextReader {
  constructor(definition, manifest) {
    const { type } = definition.pre_tokenizer;
    // The name of a special token in a text is text, so the splitter must not know these tokens.
    this.tokenizer = new Tokenizer({ ...definition, added_tokens: [] }, {});
    this.names = new Map(definition.added_tokens.map((token) => [token.content, token.id]));
    this.words = WORD_SPLITTERS[type](this.tokenizer.pre_tokenizer);
    this.normalized = definition.normalizer?.type === "BertNormalizer"
      ? (text) => normalize(text, definition.normalizer)
      : (text) => this.tokenizer.normalizer?.(text) ?? text;
    this.manifest = manifest;
    this.left = (definition.truncation?.direction ?? "Right").toLowerCase() === "left";
    this.special = new Set(manifest.special_ids.filter((id) => id !== manifest.unknown_id));
    this.typed = frames(definition).every((one) => one?.type !== "RobertaProcessing"); // whose texts are all of type 0
    this.frame = [false, true].map((pair) => this.framed([], pair ? [] : null).ids.length);
  }

  // Ids and token types of a text or a pair, without padding.
  read(text, pair = null) {
    const most = this.manifest.max_tokens;
    if (pair === null) return this.framed(this.cut(this.ids(text, this.left ? Infinity : most), most - this.frame[0]), null);
    const [first, second] = [this.ids(text), this.ids(pair)];
    const [one, other] = lengths(first.length, second.length, most - this.frame[1]);
    return this.framed(this.cut(first, one), this.cut(second, other));
  }

  // Ids of a text alone. A word is at least one token, so only so many of them need to be looked up.
  ids(text, most = Infinity) {
    const normalized = this.normalized(text);
    const words = normalized === "" ? [] : this.words(normalized).slice(0, most);
    const { tokens_to_ids: known, unk_token_id: unknown } = this.tokenizer.model;
    return this.tokenizer.model(words).map((token) => {
      const id = known.get(token) ?? unknown;
      return this.special.has(id) ? this.manifest.unknown_id ?? id : id;
    });
  }

  cut(ids, most) {
    if (ids.length <= most) return ids;
    return this.left ? ids.slice(ids.length - most) : ids.slice(0, most);
  }

  // The library puts the names of special tokens around the ids.
  framed(first, second) {
    const made = this.tokenizer.post_processor?.(first, second, true) ?? { tokens: [...first, ...second ?? []] };
    const ids = made.tokens.map((token) => (typeof token === "number" ? token : this.id(token)));
    return { ids, types: (this.typed && made.token_type_ids) || ids.map(() => 0) };
  }

  id(name) {
    return this.names.get(name) ?? this.tokenizer.model.tokens_to_ids.get(name);
  }
}

// How much of each text of a pair is kept: the longer one is cut first.
function lengths(first, second, most) {
  const swapped = first > second;
  let [short, long] = swapped ? [second, first] : [first, second];
  if (short + long > most) {
    long = short > most ? short : Math.max(short, most - short);
    if (short + long > most) [short, long] = [Math.floor(most / 2), Math.floor(most / 2) + (most % 2)];
  }
  return swapped ? [long, short] : [short, long];
}
