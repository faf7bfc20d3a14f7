#!/usr/bin/env bash
# The README's two commands as a newcomer runs them: a new clone, a new virtual environment, an empty pip cache.
# Appends wall seconds, largest process, and disk to the results file:
#
#     bash benchmarks/clean_install.sh benchmarks/results/clean_install.jsonl
set -euo pipefail
results=$(realpath "$1")
repository=$(git rev-parse --show-toplevel)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$repository" "$folder/augpro"
cd "$folder/augpro"

measure() { # name, command
    python3 -m venv "$folder/$1"
    started=$(date +%s.%N)
    (
        . "$folder/$1/bin/activate"
        export PIP_NO_CACHE_DIR=1
        python3 - "$2" <<'PY' >"$folder/$1.usage"
import json, resource, subprocess, sys
code = subprocess.run(["bash", "-ec", sys.argv[1]], stdout=sys.stderr).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
print(json.dumps({"exit_code": code, "peak_process_gib": round(peak, 2)}))
PY
    )
    seconds=$(echo "$(date +%s.%N) - $started" | bc)
    megabytes=$(du -sm "$folder/$1" | cut -f1)
    python3 - "$1" "$2" "$seconds" "$megabytes" "$folder/$1.usage" <<'PY' | tee -a "$results"
import json, os, pathlib, platform, sys
name, command, seconds, megabytes, usage = sys.argv[1:]
row = {"what": name, "command": command, "wall_seconds": round(float(seconds)),
       "environment_mb": int(megabytes), **json.load(open(usage)),
       "python": platform.python_version(), "cores": os.cpu_count()}
written = pathlib.Path("augpro-quickstart/quickstart.json")
if name == "main-job" and written.exists():
    keys = ("metric", "evaluation", "agreement", "distance_to_teacher", "megabytes", "latency_ms", "seconds",
            "phase_seconds", "replacement", "eval_rows", "train_rows", "epochs", "seed", "versions", "machine")
    models = json.loads(written.read_text())
    row["models"] = {title: {key: model[key] for key in keys} for title, model in models.items()}
print(json.dumps(row))
PY
}

measure main-job "pip install -c constraints.txt '.[quickstart]' && augpro quickstart"
measure tests "pip install -c constraints.txt -e ./runtime -e '.[dev]' && pytest"
