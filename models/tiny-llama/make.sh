#!/bin/sh
# Makes tiny-llama from nothing: environment, data, training, GGUF files, prompt file and numbers.
# usage: models/tiny-llama/make.sh
# Needs python3 (3.11 or newer) and a package index for pip.  Two CPU cores are enough.
#   OUT    where the GGUF files and depths.json go (default: this folder)
#   WORK   scratch folder (default: .venv in this folder, which git ignores)
#   STEPS  training steps (default: the number used for the shipped files)
#   RECIPE layerskip (default), or plain: no layer dropout and no early-exit loss. The plain model, for contrast, goes
#          to ../tiny-llama-contrast, as Q8_0 only.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
RECIPE=${RECIPE:-layerskip}
case $RECIPE in
    layerskip) OUT=${OUT:-$here} ;;
    plain) OUT=${OUT:-$here/../tiny-llama-contrast} ;;
    *) echo "make.sh: RECIPE is layerskip or plain, not $RECIPE" >&2; exit 2 ;;
esac
WORK=${WORK:-$here/.venv}
STEPS=${STEPS:-4200}
PROMPTS=${PROMPTS:-$OUT/../prompts/questions.jsonl}
SEED=1
export PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 JAX_PLATFORMS=cpu

mkdir -p "$OUT" "$WORK" "$(dirname -- "$PROMPTS")"
python3 -m venv "$WORK"
"$WORK/bin/pip" install --quiet --requirement "$here/requirements.txt"
py=$WORK/bin/python

if [ "$RECIPE" = plain ]; then
    "$py" "$here/train.py" --out "$WORK/run-plain" --seed "$SEED" --steps "$STEPS" --dropout 0 --exit-scale 0
    "$py" "$here/export.py" --run "$WORK/run-plain" --out "$OUT" --name tiny-llama-contrast --kinds q8_0
    "$py" "$here/evaluate.py" --model "$OUT/tiny-llama-contrast-q8_0.gguf" --json "$OUT/depths.json"
    exit
fi
"$py" "$here/train.py" --out "$WORK/run" --seed "$SEED" --steps "$STEPS"
"$py" "$here/export.py" --run "$WORK/run" --out "$OUT"
"$py" "$here/corpus.py" --seed "$SEED" --prompts "$PROMPTS"
"$py" "$here/evaluate.py" --model "$OUT/tiny-llama-q8_0.gguf"
"$py" "$here/evaluate.py" --model "$OUT/tiny-llama-f16.gguf" --json "$OUT/depths.json"
