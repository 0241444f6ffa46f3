"""Whether a network can take images of a size, which many say only when they see one."""

from typing import TYPE_CHECKING

from tasks.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def check_side(network: "nn.Module", channels: int, side: int, named: str) -> None:
    """Show the network one empty image; it is left in evaluation mode.

    Raises InputError where the network cannot take it.
    """
    import torch

    if next(network.parameters()).is_meta:
        return
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, channels, side, side))
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise refusal(named, side, error) from error


def refusal(named: str, side: int, error: Exception) -> InputError:
    """One line of what a library said about a size."""
    message = str(error).partition("\n")[0] or type(error).__name__
    return InputError(f"train.input_size: {named} cannot take {side} pixels ({message[:200]})")
