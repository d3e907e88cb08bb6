#!/bin/sh
# Make a virtual environment that holds this checkout and the named extras at the pinned versions.
#   usage, from the root of the checkout: [PYTHON=python3.11] docker/install.sh VENV EXTRAS [--editable]
# SYSTEM_PACKAGES=1 lets the environment see the system's Python packages: JetPack's tensorrt is one.
# `make install` and both images run this file.
set -eu

venv=${1:?the folder of the virtual environment}
extras=${2:?the extras, for example host,agent,dev}
editable=${3-}
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "$python is $("$python" --version 2>&1); expected Python 3.10 or newer; name one: PYTHON=python3.11" >&2
    exit 1
fi

# As variables, not as options, because they then also hold for what pip installs to build this package.
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt

"$python" -m venv ${SYSTEM_PACKAGES:+--system-site-packages} "$venv"
# shellcheck disable=SC2086  # no third argument must become no word at all
"$venv/bin/python" -m pip install --disable-pip-version-check $editable ".[$extras]"

# pip hides what becomes of an optional library. -I: of the package installed, not of the checkout.
"$venv/bin/python" -I -c '
from edge_s4op.runtime.onnxruntime_plugin import built_plugin, instruction_set
library = built_plugin()
if library is None:
    print("SSMConv for ONNX Runtime was not compiled (g++ or $CXX, C++17): files run by their function body, slower")
else:
    print(f"SSMConv for ONNX Runtime: {instruction_set(library)}")
'
