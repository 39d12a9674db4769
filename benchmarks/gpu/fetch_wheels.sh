#!/usr/bin/env bash
# Fetch what a machine with torch, transformers, accelerate and peft, but without a network, lacks for run.sh.
# Usage: benchmarks/gpu/fetch_wheels.sh FOLDER [--quantised]. There: pip install --no-index --no-deps FOLDER/*.whl
set -euo pipefail
folder=${1:?usage: fetch_wheels.sh FOLDER [--quantised]}
packages=(av pydantic pydantic_core annotated_types typing_extensions typing_inspection tomli_w cyclopts attrs
    docstring_parser rich rich_rst docutils pygments markdown_it_py mdurl)
case ${2-} in
--quantised) packages+=(bitsandbytes) ;;
'') ;;
*) echo "unknown option $2: give --quantised, or nothing" >&2 && exit 2 ;;
esac
platforms=()
for glibc in 2_28 2_27 2_24 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
# One call, so that pydantic gets the pydantic_core that it is made for.
"${PYTHON:-python3}" -m pip download --quiet --only-binary=:all: --python-version 3.12 --implementation cp \
    --abi cp312 --abi abi3 --abi none "${platforms[@]}" --platform manylinux2014_x86_64 --platform any \
    --no-deps --dest "$folder" "${packages[@]}"
du -ch "$folder"/*.whl | tail -1
