#!/bin/sh
# Builds the kernels for the CPU: build.sh OUTPUT.so [compiler flags]. Needs g++ (or $CXX) with C++17.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$1
shift
exec "${CXX:-g++}" -std=c++17 -O2 -shared -fPIC -Wall -Wextra -Werror "$@" -o "$output" \
    -x c++ "$here/ssm_conv_cpu.cpp" "$here"/../kernels/*.cu
