#!/bin/sh
# Whether this system has what the TensorRT agent needs from JetPack 6.1 or later; says what is missing.
#   usage: docker/check_jetpack.sh    (TENSORRT_ROOT names a TensorRT outside the system's folders)
set -eu

missing=0
need() {  # what, where it comes from
    echo "missing: $1; it comes with $2" >&2
    missing=1
}

header=
for root in ${TENSORRT_ROOT:+"$TENSORRT_ROOT/include"} "/usr/include/$(uname -m)-linux-gnu" /usr/include; do
    if [ -e "$root/NvInferVersion.h" ]; then
        header=$root/NvInferVersion.h
        break
    fi
done
if [ -z "$header" ]; then
    need "TensorRT's headers (NvInferVersion.h)" "JetPack's package libnvinfer-headers-dev"
else
    # TensorRT 10: NV_TENSORRT_MAJOR 10; 11: NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE, defined as a number above it.
    number() {
        sed -n "s/^#define \(NV_TENSORRT_$1\|TRT_$1_ENTERPRISE\) \([0-9][0-9]*\).*/\2/p" "$header" | head -n 1
    }
    version=$(number MAJOR).$(number MINOR)
    case $version in
        10.[0-2] | [0-9].*) need "TensorRT 10.3 or later (found $version in $header)" "JetPack 6.1" ;;
        *) echo "TensorRT $version: $header" ;;
    esac
fi

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [ -n "$nvcc" ]; then echo "CUDA compiler: $nvcc"; else need "nvcc" "JetPack's package cuda-nvcc-12-6"; fi

# PyCUDA is compiled on the device.
if [ -z "$(ls /usr/local/cuda/include/curand.h 2>/dev/null)" ]; then
    echo "note: no curand.h, so PyCUDA cannot be built (JetPack's package libcurand-dev-12-6 has it);" \
        "without the extra jetson the agent calls the driver directly"
fi

if python=$(python3 -c 'import tensorrt; print(tensorrt.__version__)' 2>/dev/null); then
    echo "TensorRT's Python module: $python"
else
    need "the Python module tensorrt" "JetPack's package python3-libnvinfer"
fi

exit "$missing"
