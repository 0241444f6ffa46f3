"""One optimizer step: forward and backward in micro-batches, in the precision asked for."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tasks.augmentation import Batch
from tasks.devices import is_out_of_memory, resolved_precision
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

        self._parts = recipe.accumulate
        self._network, self._normalise, self._recipe = network, normalise, recipe
        self._device = device
        # Fixed shapes: what dynamo makes of a second one would depend on what it saw before.
        self._forward: Any = torch.compile(network, dynamic=False) if recipe.compile else network
        self._optimizer, self._scheduler = _optimizer(network, recipe)
        halves = recipe.precision == "float16" and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=halves)

    @property
    def micro_batch(self) -> int:
        """Images that go through the network at once."""
        return -(-self._recipe.batch_size // self._parts)

    def step(self, number: int, batch: Batch) -> "Tensor":
        """Do step `number` (from 0): summed loss, hits and images, on the device."""
        import torch

        self._scheduler.step_update(number)
        self._network.train()
        before = _Moved(self._network, self._device)
        while (found := self._gradients(batch)) is None:
            self._optimizer.zero_grad(set_to_none=True)
            before.restore()
            self._parts *= 2
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
        parts = min(self._parts, num_images)
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
                seen = hits.new_full((), len(goals))
                sums += torch.stack((loss.detach() * num_images, hits, seen))
        except RuntimeError as error:
            # Two images are the fewest that batch norm can do with.
            if num_images // parts < 4 or not is_out_of_memory(error):
                raise
            return None
        return sums

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, beside the weights."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "parts": self._parts,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._parts = state["parts"]


class _Moved:
    """What a forward pass moves beside gradients: statistics of batch norm, draws of dropout."""

    def __init__(self, network: "nn.Module", device: "torch.device") -> None:
        self._network = network
        self._buffers = [buffer.clone() for buffer in network.buffers()]
        self._random = random_state(device)

    def restore(self) -> None:
        """As if the pass had not been."""
        for buffer, old in zip(self._network.buffers(), self._buffers, strict=True):
            buffer.copy_(old)
        set_random_state(self._random)


def random_state(device: "torch.device") -> dict[str, "Tensor | None"]:
    """Of torch's own generators, which dropout draws from."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if on_gpu else None,
    }


def set_random_state(state: dict[str, "Tensor | None"]) -> None:
    """Put back what `random_state` said."""
    import torch

    assert state["cpu"] is not None
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


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
    # timm's `lamb` clips by itself, which `clip_grad` is there to say.
    own: dict[str, Any] = {"max_grad_norm": None} if recipe.optimizer == "lamb" else {}
    optimizer = create_optimizer_v2(
        network,
        opt="momentum" if plain else recipe.optimizer,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        **own,
    )
    # The cosine begins behind the warm-up, or it would never stand at its peak.
    cosine, warmup = recipe.schedule == "cosine", recipe.warmup_steps
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="multistep" if recipe.schedule == "step" else recipe.schedule,
        num_epochs=recipe.steps - (warmup if cosine else 0),
        # timm's milestone m takes effect at step m - 1.
        decay_milestones=[milestone + 1 for milestone in recipe.milestones],
        decay_rate=recipe.decay,
        warmup_epochs=warmup,
        warmup_lr=recipe.lr / max(1, warmup),
        warmup_prefix=cosine,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return optimizer, scheduler
