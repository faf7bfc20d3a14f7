// The files that the page carries: gzip in base64.

export async function part(name) {
  const element = document.getElementById(`part-${name}`);
  try {
    const letters = atob(element.textContent);
    element.remove(); // the text takes twice its size in memory
    const packed = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place += 1) packed[place] = letters.charCodeAt(place);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer()); // fails unless the checksum of gzip fits
  } catch {
    throw new Error(`its part "${name}" is missing or damaged`);
  }
}
