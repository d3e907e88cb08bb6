#!/bin/sh
# Everything about the kernels that needs an NVIDIA GPU, in one command:
#
#   trt_plugins/bench/run_on_gpu.sh [--quick]
#
# builds, runs compute-sanitizer (memcheck, racecheck) on small sizes, checks every tactic at every length,
# and ends with `python -m benchmarks.ssm_conv`. Needs CUDA's nvcc and compute-sanitizer; $PYTHON (default
# python3) with numpy, and a CUDA build of torch to be measured beside it. S4OP_BENCH_FOLDER: where to build.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${S4OP_BENCH_FOLDER:-$root/build/bench}
export PATH="$PATH:/usr/local/cuda/bin"

for program in "${CUDACXX:-nvcc}" compute-sanitizer "${PYTHON:-python3}"; do
    command -v "$program" >/dev/null && continue
    echo "run_on_gpu.sh: no $program in PATH; nvcc and compute-sanitizer come with the CUDA toolkit" >&2
    exit 2
done

echo "== build"
"$here/build.sh" "$folder"

for tool in memcheck racecheck; do
    echo "== compute-sanitizer $tool"
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$folder/bench_ssm_conv" --check --quick
done

echo "== checks at every length"
"$folder/bench_ssm_conv" --check

echo "== benchmark"
cd "$root"
S4OP_BENCH_FOLDER=$folder exec "${PYTHON:-python3}" -m benchmarks.ssm_conv "$@"
