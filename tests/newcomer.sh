#!/usr/bin/env bash
# Do what the README's first page says, block by block, as somebody who has just come to it: in an empty folder, with an
# empty home, from `git clone` to predictions on texts without a label. It ends with 1 where a block fails, and with 124
# where all of it takes longer than ten minutes, or than NEWCOMER_LIMIT seconds.
#   tests/newcomer.sh URL   # whatever `git clone` takes
set -euo pipefail
export URL=${1:?name what to clone}
[ -d "$URL" ] && URL=$(realpath "$URL")
readme=$(realpath "$(dirname "$0")/../README.md")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/home" "$place/models"

# A csv block stands for a file of the reader's own, which has more rows of the kind; the hub's model is one that is made here.
cat > "$place/all.sh" <<'SETTING'
own_file() {
  head -1 > reviews.csv
  for i in $(seq 100); do
    echo "\"Two hours that feel like one, and scene $i is a joy.\",good"
    echo "\"Nobody in it seems to know why scene $i is there.\",bad"
  done >> reviews.csv
  made=$(python -c 'from selectune.data.sources import find_model; print(find_model("docstrings-bert").folder)')
  ln -s "$made" "$SELECTUNE_MODELS/bert-base-uncased"
}
told() { echo; echo "== $1, after $SECONDS s"; }
SETTING
awk '
  /^## / { on = /^## (The first five minutes|Your own data)/; if (on) print "told \"" substr($0, 4) "\"" }
  on && /^```/ {
    if (inside == "python" || inside == "csv") print "BLOCK"
    inside = inside ? "" : substr($0, 4)
    if (inside == "python") print "python - <<\"BLOCK\""
    if (inside == "csv") print "own_file <<\"BLOCK\""
    next
  }
  on && inside { print }
' "$readme" >> "$place/all.sh"
grep -q '^git clone' "$place/all.sh"
grep -q '^selectune fit' "$place/all.sh"
grep -q '^selectune predict' "$place/all.sh"
grep -q '^BLOCK' "$place/all.sh"

cd "$place"
unset PYTHONPATH VIRTUAL_ENV SELECTUNE_DATA SELECTUNE_CACHE HF_HOME HF_DATASETS_CACHE XDG_CACHE_HOME
export HOME=$place/home SELECTUNE_MODELS=$place/models COLUMNS=120
timeout "${NEWCOMER_LIMIT:-600}" bash -euo pipefail "$place/all.sh"
[ -f selectune/runs/first/fit/report.html ]
[ -f selectune/runs/reviews/export/config.json ]
# as in the README: a header, and a line for each text
[ "$(wc -l < selectune/predictions.csv)" -gt 1 ]
[ "$(wc -l < selectune/predictions.csv)" -eq "$(wc -l < selectune/new.csv)" ]
echo "The first page works: $SECONDS s."
