"""How many texts a second ``augpro serve`` answers with a 95th percentile under 50 ms, and its memory.

    python benchmarks/serve.py --model runs/exported --texts texts.csv --results benchmarks/results/serve.jsonl
    python benchmarks/serve.py --model runs/exported --texts texts.csv --rate 200 --minutes 10 --results ...

It starts the server on a free port and sends calls of one text at a steady rate, whether or not earlier ones are
answered, so that a slow answer delays none of the calls behind it (latency counts from when a call was due). Without
``--rate`` the rate is doubled until the percentile is above the limit, then halved in between. Clients are coroutines
with kept connections in this process; it and the server share the cores. ``processor_ms_per_text`` is the server's,
and hardly depends on what else the machine does.
"""

import argparse
import asyncio
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from augpro.results.environment import library_versions, machine_facts

LIMIT = 0.050


class Client:
    """Connections to a server, each used by one call at a time."""

    def __init__(self, port):
        self.port, self.free = port, []

    async def ask(self, text):
        """Whether one text was answered."""
        body = json.dumps({"texts": [text]}).encode()
        call = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        while True:
            kept = self.free.pop() if self.free else None
            try:
                reader, writer = kept or await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(call)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError, IndexError) as error:
                if kept and not getattr(error, "partial", b""):
                    continue  # the server had closed an idle connection, so it has not read the call
                return False
            self.free.append((reader, writer))
            return answer.startswith(b"HTTP/1.1 200 ")


async def load(port, texts, rate, seconds):
    """Latencies of the calls that were answered, in seconds, and how many were not."""
    client, latencies, errors = Client(port), [], 0

    async def call(number, due):
        nonlocal errors
        if await client.ask(texts[number % len(texts)]):
            latencies.append(time.perf_counter() - due)
        else:
            errors += 1

    start, calls = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        calls.append(asyncio.create_task(call(number, due)))
    await asyncio.gather(*calls)
    spent = time.perf_counter() - start
    for _, writer in client.free:
        writer.close()
    return latencies, errors, spent


def measure(process, port, texts, rate, seconds):
    before, worked = process.memory_info().rss, sum(process.cpu_times()[:2])
    latencies, errors, spent = asyncio.run(load(port, texts, rate, seconds))
    ordered = sorted(latencies) or [float("inf")]
    return {
        "rate": rate, "seconds": round(spent, 1), "texts_per_second": len(latencies) / spent, "errors": errors,
        "processor_ms_per_text": 1e3 * (sum(process.cpu_times()[:2]) - worked) / max(1, len(latencies)),
        "median_ms": 1e3 * statistics.median(ordered), "p95_ms": 1e3 * ordered[int(0.95 * (len(ordered) - 1))],
        "p99_ms": 1e3 * ordered[int(0.99 * (len(ordered) - 1))], "memory_mib_start": before / 2**20,
        "memory_mib_end": process.memory_info().rss / 2**20,
    }  # fmt: skip


def holds(found):
    return found["p95_ms"] < 1e3 * LIMIT and not found["errors"]


def highest(run, first):
    """The figures of the highest rate that holds; rates are tried to within about 6 %."""
    low, high, best = 0.0, first, None
    while (found := run(high)) and holds(found):
        low, best, high = high, found, 2 * high
    while high - low > 0.06 * high and high > 1:
        middle = (low + high) / 2
        found = run(middle)
        if holds(found):
            low, best = middle, found
        else:
            high = middle
    return best or found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--texts", required=True, type=Path, help="CSV file; the first column is sent")
    parser.add_argument("--rate", type=float, help="texts a second; the highest that holds if left out")
    parser.add_argument("--minutes", type=float, default=0.25, help="of each try")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    with open(options.texts, newline="", encoding="utf-8") as file:
        texts = [row[0] for row in csv.reader(file)][1:]
    command = [sys.executable, "-m", "augpro.cli", "serve", "--model", str(options.model), "--port", "0"]
    if options.threads:
        command += ["--threads", str(options.threads)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        process = psutil.Process(server.pid)
        asyncio.run(load(port, texts, 20, 3))  # the first calls load what they need

        def run(rate):
            found = measure(process, port, texts, rate, 60 * options.minutes)
            print(json.dumps(found), flush=True)
            return found

        found = run(options.rate) if options.rate else highest(run, 50.0)
    finally:
        server.terminate()
        server.wait(60)
    found |= {
        "model": options.model.name,
        "model_mib": sum(path.stat().st_size for path in options.model.glob("model.onnx*")) / 2**20,
        "minutes": options.minutes, "threads": options.threads, "other_load": psutil.getloadavg()[1],
        "versions": library_versions(), "machine": machine_facts(),
    }  # fmt: skip
    if options.results:
        with open(options.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
