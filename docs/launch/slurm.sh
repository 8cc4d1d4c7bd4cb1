#!/bin/bash
# Trains on several nodes with Slurm: sbatch slurm.sh, after the lines below are yours.
#SBATCH --job-name=reward-model
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
# Ten minutes before the time is up, SIGTERM to every process: they save and end.
#SBATCH --signal=TERM@600
# Where a node fails, Slurm starts the whole job again on other nodes.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -uo pipefail
DATASET=${DATASET:-/shared/datasets/mix}
MODEL=${MODEL:-/shared/models/base}
OUTPUT=${OUTPUT:-/shared/runs/mix}   # on a disk that all nodes see

export OMP_NUM_THREADS=8
# Else a group that meets again after a loss may connect to what the first one left (torch 2.13).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export NCCL_DEBUG=WARN
# export NCCL_SOCKET_IFNAME=eth0    # where NCCL picks an interface that does not reach the others
# export GLOO_SOCKET_IFNAME=eth0    # the same for what the CPUs agree on
# export HF_HUB_OFFLINE=1           # where compute nodes have no Internet

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=0 torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node 8 \
    --rdzv-backend c10d --rdzv-endpoint "$head:29500" \
    --rdzv-id "$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \
    --max-restarts 3 --shutdown-timeout 540 \
    -m training.train --dataset "$DATASET" --model "$MODEL" --output "$OUTPUT" --resume \
    --set run.parallel=fsdp --set run.save_every=100

# What SIGTERM stopped goes on in the next allocation; what failed twenty times does not.
if [ ! -f "$OUTPUT/summary.json" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
