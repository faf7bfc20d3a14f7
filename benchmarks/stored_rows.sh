#!/usr/bin/env bash
# Rows that are augmented and labelled once and then used in every epoch, beside rows that are made in the training.
#
#     bash benchmarks/stored_rows.sh DATA TEACHER OUT SEED CONDITION [OPTION...]
#     bash benchmarks/stored_rows.sh DATA/sst2 runs/sst2-teacher runs/stored 0 stored-24 --holdout-rows 5000 --student-layers 1,4
#
# CONDITION: online (three new texts of each row in every epoch), kept (the default: the latest three, one of them new),
# grown (one new text in every epoch, all kept), or stored-N (N texts, made before). OPTIONS are of augpro distill. The
# result is in OUT/CONDITION-SEED, augmented rows are in OUT/rows-N-SEED; what is there already is not made again.
set -euo pipefail
(($# >= 5)) || { echo "stored_rows.sh: give DATA TEACHER OUT SEED CONDITION; the head of the script says more." >&2; exit 2; }
data=$1 teacher=$2 out=$3 seed=$4 condition=$5
shift 5
augpro() { "${PYTHON:-python}" -m augpro.cli "$@"; }

texts=(--data "$data" --seed "$seed") rows=(--train-rows 1000)
for ((i = 1; i <= $#; i++)); do  # which rows, of both commands
    [[ ${!i} != --holdout-rows ]] || { next=$((i + 1)); rows+=(--holdout-rows "${!next}"); }
done
case $condition in
    online) made=(--candidates 3 --new-candidates 3) ;;
    kept) made=(--candidates 3 --new-candidates 1) ;;
    grown) made=(--candidates 25 --new-candidates 1) ;;
    stored-*)
        augmented=$out/rows-${condition#stored-}-$seed
        augpro augment "${texts[@]}" "${rows[@]}" --student "$teacher" --teacher "$teacher" --augment augpro-mix \
            --copies "${condition#stored-}" --out "$augmented"
        made=(--augmented "$augmented" --candidates 3) ;;
    *) echo "stored_rows.sh: $condition: online, kept, grown or stored-N." >&2; exit 2 ;;
esac
[[ $condition == stored-* ]] || made+=(--augment augpro-mix --train-rows 1000)
augpro distill "${texts[@]}" --teacher "$teacher" --epochs 25 "${made[@]}" --trainer-option save_strategy=no \
    --out "$out/$condition-$seed" "$@"
