"""fp32 master weights, bf16 copies that compute, and their place on several GPUs.

With a learning rate of 3e-6 a bf16 weight would not move: its neighbours are 1/256 apart,
relatively. So the optimizer sees fp32 masters, whose gradients add up in fp32 over the
micro-batches of a step; the backbone computes with bf16 copies. The head stays fp32.

ddp: every rank has all of it, and gradients are summed over ranks once a step. fsdp: FSDP2
divides masters, gradients and optimizer state over the ranks and makes the bf16 copies block by
block, on request within groups of ranks that hold copies of each other (HSDP). Gradients are summed
and never averaged: the loss is already divided by the weight of the whole
step.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import ConfigError
from training.model.reward_model import RewardModel
from training.model.stored_weights import StoredWeights
from training.parallel.sharded_read import give_memory, read_shards, rows_of_shard


class MasterWeights:
    """The parameters as the optimizer sees them.

    Args:
        model: on its device, in fp32; with ``stored`` its parameters are on the meta device, but
            those of an adapter.
        dtype: of the backbone's computation, bfloat16 or float32.
        parallel: 'ddp' or 'fsdp'; only of interest with several ranks.
        shard_degree: of fsdp: ranks over which the weights are divided; groups of so many hold
            copies of each other (HSDP). None: all.
        cpu_offload: of fsdp: masters, their gradients and optimizer state are in the memory of the
            host, where the optimizer works; blocks come to the GPU one by one.
        stored: where the weights lie; each rank reads its own part of them.
        device: on which the model computes; None: where its parameters are.

    Raises ConfigError for ranks that cannot be divided so, or weights that cannot be read.
    """

    def __init__(
        self,
        model: RewardModel,
        dtype: torch.dtype,
        parallel: str,
        *,
        shard_degree: int | None = None,
        cpu_offload: bool = False,
        stored: StoredWeights | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.model = model
        if model.is_adapted:
            _as_computed(model, dtype)
        self.is_sharded = parallel == "fsdp" and dist.is_initialized()
        if self.is_sharded:
            device = device or next(model.parameters()).device
            _shard(model, dtype, device.type, shard_degree, cpu_offload=cpu_offload)
        self.bytes_read = 0
        """Of the files of weights, by this rank; 0 where the model came whole."""
        if stored is not None:
            assert device is not None
            offloads = self.is_sharded and cpu_offload
            give_memory(model, device, torch.device("cpu") if offloads else device)
            self.bytes_read = read_shards(model, stored)
        self.masters: dict[str, nn.Parameter] = {}
        """fp32, by the names of ``model.hf``; of an adapted model, the trained weights alone."""
        self._copies: list[tuple[nn.Parameter, nn.Parameter]] = []
        of_head = {id(parameter) for parameter in model.head.parameters()}
        self.head = {n for n, p in model.hf.named_parameters() if id(p) in of_head}
        """Names of the head's parameters."""
        for name, parameter in model.hf.named_parameters():
            if model.is_adapted and not parameter.requires_grad:
                continue
            if self.is_sharded or dtype == torch.float32 or name in self.head:
                self.masters[name] = parameter
                continue
            master = nn.Parameter(parameter.detach().clone())
            master.grad = torch.zeros_like(master)
            parameter.data = parameter.data.to(dtype)
            parameter.register_post_accumulate_grad_hook(_add_to(master))
            self.masters[name] = master
            self._copies.append((parameter, master))

    @property
    def head_weight(self) -> str:
        """Name of the weight of a head that is one linear layer, as of every causal backbone."""
        name: str
        (name,) = self.head & self.masters.keys()
        return name

    def add_gradient(self, name: str, value: Tensor) -> None:
        """Add to a gradient a whole tensor, the same on every rank; after :meth:`sum_gradients`."""
        master: Any = self.masters[name]
        if master.grad is None:
            master.grad = torch.zeros_like(master)
        if hasattr(master, "device_mesh"):
            begin, end = rows_of_shard(master)
            local = master.grad.to_local()
            local.add_(value[begin:end].to(local))
        else:
            master.grad.add_(value.to(master.grad))

    def sum_gradients(self) -> None:
        """Add up the gradients of all ranks (fsdp did so in the backward pass)."""
        if not dist.is_initialized() or self.is_sharded:
            return
        for master in self.masters.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        for bucket in _buckets([master.grad for master in self.masters.values()]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, summed in zip(bucket, parts, strict=True):
                gradient.copy_(summed.view_as(gradient))

    def gradient_norm(self) -> Tensor:
        """Norm of the whole gradient, the same on every rank; a scalar."""
        gradients = [m.grad for m in self.masters.values() if m.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def scale_gradients(self, factor: Tensor | float) -> None:
        """Multiply all gradients, for clipping."""
        gradients = [m.grad for m in self.masters.values() if m.grad is not None]
        for gradient in gradients:
            gradient.mul_(factor)

    def clear_gradients(self) -> None:
        """Discard the gradients."""
        for parameter, master in self._copies:
            parameter.grad = None
            assert master.grad is not None
            master.grad.zero_()
        kept = {id(master) for _, master in self._copies}
        for master in self.masters.values():
            if id(master) not in kept:
                master.grad = None

    @torch.no_grad()
    def refresh_copies(self) -> None:
        """Have the model compute with the masters as they are now: after a step, or an exchange.

        Copies them into the bf16 weights; fsdp forgets what it gathered of them, which after a
        forward pass alone it keeps of the weights outside of the blocks.
        """
        if self.is_sharded:
            _forget_gathered(self.model)
        if self._copies:
            torch._foreach_copy_(
                [parameter for parameter, _ in self._copies], [master for _, master in self._copies]
            )

    def tensors(self) -> dict[str, Tensor]:
        """The fp32 weights and the buffers as they lie: with fsdp each rank's part (DTensor).

        Of an adapted model the trained weights alone.
        """
        others = {} if self.model.is_adapted else self.model.hf.state_dict()
        found: dict[str, Tensor] = others | self.masters
        return found

    def state(self, *, keep: bool) -> dict[str, Tensor]:
        """The fp32 weights and the buffers, whole, on the CPU; every rank must call.

        Of an adapted model the trained weights alone.

        ``keep``: on the rank that writes them; the others get an empty dict and no copies.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in self.tensors().items():
            gathered = full_tensor(tensor, keep=keep)
            if gathered is not None:
                found[name] = gathered
        return found

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over fp32 weights."""
        for name, master in self.masters.items():
            copy_full(master, state[name])
        self.refresh_copies()


@torch.no_grad()
def _as_computed(model: RewardModel, dtype: torch.dtype) -> None:
    """Keep frozen weights in the dtype that computes: nothing is ever added to them."""
    for parameter in model.hf.parameters():
        if not parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def full_tensor(tensor: Any, *, keep: bool = True) -> Tensor | None:
    """A tensor on the CPU, gathered from all ranks where it is divided; None without ``keep``."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().to("cpu", copy=True) if keep else None


@torch.no_grad()
def copy_full(target: Any, value: Tensor) -> None:
    """Copy a whole tensor, the same on every rank, into one that may be divided over ranks."""
    if hasattr(target, "device_mesh"):
        begin, end = rows_of_shard(target)
        target.to_local().copy_(value[begin:end])
    else:
        target.copy_(value)


def _forget_gathered(model: nn.Module) -> None:
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _add_to(master: nn.Parameter) -> Any:
    def hook(parameter: Tensor) -> None:
        assert master.grad is not None
        assert parameter.grad is not None
        master.grad.add_(parameter.grad)
        parameter.grad = None

    return hook


def _buckets(tensors: list[Any], elements: int = 1 << 26) -> Iterator[list[Tensor]]:
    """Group gradients so that few all-reduces are needed: 256 MiB of fp32 each."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > elements:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


def _shard(
    model: RewardModel, dtype: torch.dtype, kind: str, degree: int | None, *, cpu_offload: bool
) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        FSDPModule,
        MixedPrecisionPolicy,
        OffloadPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    if any(hasattr(parameter, "quant_state") for parameter in model.parameters()):
        raise ConfigError(
            "lora.base_precision=nf4 cannot be divided over ranks; set run.parallel=ddp (each rank "
            "then holds the base in 4 bits) or lora.base_precision=auto"
        )
    ranks = dist.get_world_size()
    degree = degree or ranks
    if ranks % degree:
        raise ConfigError(
            f"run.shard_degree={degree} does not divide the {ranks} processes of this run"
        )
    if degree == ranks:
        mesh = init_device_mesh(kind, (ranks,), mesh_dim_names=("shard",))
    else:
        shape = (ranks // degree, degree)
        mesh = init_device_mesh(kind, shape, mesh_dim_names=("replicate", "shard"))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    full = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32)
    given: dict[str, Any] = {
        "mesh": mesh,
        "offload_policy": CPUOffloadPolicy(kind == "cuda") if cpu_offload else OffloadPolicy(),
    }
    for block in model.blocks:
        fully_shard(block, mp_policy=policy, **given)
    fully_shard(model.head, mp_policy=full, **given)
    fully_shard(model, mp_policy=policy, **given)
    register_fsdp_forward_method(model, "read")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot scale and sum at once
