// The normalizer and the splitting of BERT's tokenizers, character by character as the runtime's tokenizers library
// does them. @huggingface/tokenizers differs: it misses ideographs outside the first plane, and lowers a sigma at the
// end of a word to another letter. Left are characters that Unicode added after version 8, which the runtime takes
// for letters where a browser knows them as marks or punctuation.

const IDEOGRAPHS =
  /[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}]/gu;
const REMOVED = /(?![\t\n\r])[\ufffd\p{Cc}\p{Cf}\p{Co}]/gu;
const SPACES = /\p{White_Space}/gu;
const WORDS = /[!-/:-@[-`{-~\p{P}]|[^!-/:-@[-`{-~\p{P}\p{White_Space}]+/gu;

export function normalize(text, options) {
  let result = text;
  if (options.clean_text) result = result.replace(REMOVED, "").replace(SPACES, " ");
  if (options.handle_chinese_chars) result = result.replace(IDEOGRAPHS, " $& ");
  if (options.strip_accents ?? options.lowercase) result = result.normalize("NFD").replace(/\p{Mn}/gu, "");
  // Letter by letter: what follows a sigma must not matter.
  return options.lowercase ? Array.from(result, (letter) => letter.toLowerCase()).join("") : result;
}

export function split(text) {
  return text.match(WORDS) ?? [];
}
