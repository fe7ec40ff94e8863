#!/bin/sh
# Makes tiny-llama from nothing: environment, data, training, GGUF files, prompt file and numbers.
# usage: models/tiny-llama/make.sh
# Needs python3 (3.11 or newer) and a package index for pip.  Two CPU cores are enough.
#   OUT    where the GGUF files and depths.json go (default: this folder)
#   WORK   scratch folder (default: .venv in this folder, which git ignores)
#   STEPS  training steps (default: the number used for the shipped files)
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
OUT=${OUT:-$here}
WORK=${WORK:-$here/.venv}
STEPS=${STEPS:-4200}
PROMPTS=${PROMPTS:-$OUT/../prompts/questions.jsonl}
SEED=1
export PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 JAX_PLATFORMS=cpu

mkdir -p "$OUT" "$WORK" "$(dirname -- "$PROMPTS")"
python3 -m venv "$WORK"
"$WORK/bin/pip" install --quiet --requirement "$here/requirements.txt"
py=$WORK/bin/python

"$py" "$here/train.py" --out "$WORK/run" --seed "$SEED" --steps "$STEPS"
"$py" "$here/export.py" --run "$WORK/run" --out "$OUT"
"$py" "$here/corpus.py" --seed "$SEED" --prompts "$PROMPTS"
"$py" "$here/evaluate.py" --model "$OUT/tiny-llama-q8_0.gguf"
"$py" "$here/evaluate.py" --model "$OUT/tiny-llama-f16.gguf" --json "$OUT/depths.json"
