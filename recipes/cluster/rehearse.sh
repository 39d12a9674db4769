#!/bin/bash
# The launch of train.slurm on one machine without a GPU: two nodes with one process each, and one copy of the weights
# on every node. It shows that the processes meet, train and write one run folder. It needs about two minutes.
#   bash recipes/cluster/rehearse.sh runs/rehearsal
set -euo pipefail

RUN=${1:?give a run folder: bash rehearse.sh RUN_FOLDER}
RECIPE=${2:-tiny-opd}
STEPS=${STEPS:-2}
PORT=${PORT:-29511}
export OMP_NUM_THREADS=1

start() { # the number of the node
    python -m torch.distributed.run --nnodes 2 --nproc-per-node 1 \
        --node-rank "$1" --master-addr 127.0.0.1 --master-port "$PORT" \
        -m video_opd train "$RECIPE" --out "$RUN" --compute.shards 1 --compute.device cpu --steps "$STEPS"
}

start 1 &
SECOND=$!
trap 'kill "$SECOND" 2>/dev/null || true' EXIT
start 0
wait "$SECOND"
