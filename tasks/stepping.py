"""One optimizer step: forward and backward in micro-batches, in the precision asked for."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tasks.augmentation import Batch
from tasks.images import Normalise
from tasks.specs import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Stepper:
    """Trains a network batch by batch.

    Where a batch does not fit the memory, it is cut into halves until it does: the gradient is
    that of the whole batch (but batch norm sees the parts), and `micro_batch` says how far it went.
    """

    def __init__(
        self, network: "nn.Module", normalise: Normalise, recipe: Recipe, device: "torch.device"
    ) -> None:
        import torch

        self.micro_batch = -(-recipe.batch_size // recipe.accumulate)
        self._network, self._normalise, self._recipe = network, normalise, recipe
        self._device = device
        self._forward: Any = torch.compile(network) if recipe.compile else network
        self._optimizer, self._scheduler = _optimizer(network, recipe)
        halves = recipe.precision == "float16" and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=halves)

    def step(self, number: int, batch: Batch) -> "Tensor":
        """Do step `number` (from 0): summed loss, hits and images, on the device."""
        import torch

        self._scheduler.step_update(number)
        self._network.train()
        while (found := self._gradients(batch)) is None:
            self._optimizer.zero_grad(set_to_none=True)
            self.micro_batch = -(-self.micro_batch // 2)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        if self._recipe.clip_grad is not None:
            self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.clip_grad)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return found

    def _gradients(self, batch: Batch) -> "Tensor | None":
        """Add up the gradients of a batch; None where a micro-batch does not fit."""
        import torch
        from torch.nn import functional

        num_images = len(batch.targets)
        # Equal parts: a last one of a single image would be too few for batch norm.
        parts = -(-num_images // self.micro_batch)
        mass = batch.targets.sum()
        sums = torch.zeros(3, device=self._device)
        try:
            for images, goals in zip(
                batch.images.tensor_split(parts), batch.targets.tensor_split(parts), strict=True
            ):
                with autocast(self._recipe.precision, self._device):
                    logits = self._forward(self._normalise(images))
                # Targets carry loss weights, so their sum, not the number of images, divides.
                loss = functional.cross_entropy(logits.float(), goals, reduction="sum") / mass
                self._scaler.scale(loss).backward()
                hits = (logits.detach().argmax(1) == goals.argmax(1)).sum()
                sums += torch.stack((loss.detach() * num_images, hits, hits.new_tensor(len(goals))))
        except RuntimeError as error:
            if self.micro_batch == 1 or not is_out_of_memory(error):
                raise
            return None
        return sums

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, beside the weights."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "micro_batch": self.micro_batch,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.micro_batch = state["micro_batch"]


def is_out_of_memory(error: RuntimeError) -> bool:
    """torch says it in one way on a GPU and in another on the CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def resolved_precision(precision: str, device: "torch.device") -> str:
    """What `auto` means on a device."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" else "float32"


def autocast(precision: str, device: "torch.device") -> AbstractContextManager[Any]:
    """The context in which a network is called."""
    import torch

    chosen = resolved_precision(precision, device)
    if chosen == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, chosen))


def _optimizer(network: "nn.Module", recipe: Recipe) -> tuple["torch.optim.Optimizer", Any]:
    from timm.optim._optim_factory import create_optimizer_v2
    from timm.scheduler.scheduler_factory import create_scheduler_v2

    # timm's `sgd` is Nesterov's, which there is not without momentum.
    plain = recipe.optimizer == "sgd" and recipe.momentum == 0
    optimizer = create_optimizer_v2(
        network,
        opt="momentum" if plain else recipe.optimizer,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="multistep" if recipe.schedule == "step" else recipe.schedule,
        num_epochs=recipe.steps,
        # timm's milestone m takes effect at step m - 1.
        decay_milestones=[milestone + 1 for milestone in recipe.milestones],
        decay_rate=recipe.decay,
        warmup_epochs=recipe.warmup_steps,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return optimizer, scheduler
