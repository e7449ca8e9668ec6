#!/usr/bin/env bash
# Builds the wheel, installs it into an environment of its own outside the checkout, and runs it from there: `i4d doctor`, then an
# edit of a small demo scene. What only works beside the sources fails here.
# usage: scripts/check_wheel.sh      PYTHON: makes the environment; BUILD: a Python with pip that builds the wheel
set -euo pipefail
python=${PYTHON:-python3}
build=${BUILD:-$python}
sources=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$build" -m pip wheel --quiet --no-deps --wheel-dir "$work/dist" "$sources"
"$python" -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --upgrade pip
"$work/env/bin/python" -m pip install --quiet "$work"/dist/i4d-*.whl
rm -rf "$sources/build"

cd "$work"
where=$(PYTHONPATH='' "$work/env/bin/python" -c 'import i4d; print(i4d.__file__)')
case $where in "$work"/env/*) ;; *) echo "i4d was imported from $where, not from the wheel" >&2; exit 1 ;; esac
export PYTHONPATH=''
"$work/env/bin/i4d" doctor
"$work/env/bin/i4d" edit --scene demo --prompt "make it sepia" --out "$work/runs/small" --local --device cpu \
  --set scene.num_frames=4 --set scene.width=64 --set scene.height=48 \
  --set field.grid_start=8000 --set field.grid_end=32000 --set field.fit_steps=150 --set field.refit_steps=40 \
  --set schedule.key_frame=2 --set schedule.diffusion_steps=2 --set schedule.refine_diffusion_steps=1
test -s "$work/runs/small/report/index.html"
test -s "$work/runs/small/metrics.json"
echo "the wheel works outside the checkout"
