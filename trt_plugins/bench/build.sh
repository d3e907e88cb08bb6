#!/bin/sh
# Builds bench_ssm_conv and libssm_conv_c.so: build.sh FOLDER [nvcc flags, e.g. -arch=sm_87]. The GPU's own
# architecture without flags. Needs nvcc in PATH or $CUDACXX.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
shift
[ $# -gt 0 ] || set -- -arch=native
nvcc=${CUDACXX:-nvcc}
mkdir -p "$folder"
objects=
for source in "$here"/../kernels/*.cu "$here"/*.cu; do
    object=$folder/$(basename "$source" .cu).o
    "$nvcc" -std=c++17 -O3 -Xcompiler -fPIC,-Wall "$@" -c -o "$object" "$source"
    case $source in "$here"/../kernels/*) objects="$objects $object" ;; esac
done
# shellcheck disable=SC2086  # one word an object
"$nvcc" "$@" -o "$folder/bench_ssm_conv" "$folder/bench_ssm_conv.o" $objects
# shellcheck disable=SC2086
"$nvcc" "$@" -shared -o "$folder/libssm_conv_c.so" "$folder/ssm_conv_c.o" $objects
