"""PyTorch: the loss and the learning rate at every step of an optimizer, and the optimizer's settings.

A loss is what ``backward`` was called on. Several of them before one step (accumulated gradients) are averaged.
The model itself is not seen: an optimizer knows only its tensors. Keep it with ``run.log_artifact``.
"""

from __future__ import annotations

import functools
import threading
from typing import Any
from weakref import WeakKeyDictionary

from modelworks.track.autolog.port import Autolog, Recorder, Undo, calmly, settings
from modelworks.track.run import Run


class _Torch:
    """Every training loop with ``loss.backward()`` and ``optimizer.step()``."""

    def hook(self, recorder: Recorder) -> Undo:
        """See `Autolog.hook`."""
        import torch
        from torch.optim import optimizer as optimizers  # torch.optim leaves it out of its own names

        tensor: Any = torch.Tensor
        steps: Any = optimizers

        here = threading.local()
        seen: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
        original = tensor.backward

        @functools.wraps(original)
        def backward(self: Any, *args: Any, **kw: Any) -> Any:
            if self.numel() == 1:
                # Not read yet: on a GPU that would make every step wait for it.
                here.losses = [*getattr(here, "losses", ()), self.detach()]
            return original(self, *args, **kw)

        def stepped(optimizer: Any, _args: Any, _kw: Any) -> None:
            calmly(lambda: step(optimizer))

        def step(optimizer: Any) -> None:
            losses, here.losses = getattr(here, "losses", []), []
            run = recorder.open("torch")
            told = seen.setdefault(optimizer, set())
            if run.id not in told:
                told.add(run.id)
                _settings(run, optimizer)
            metrics = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
            if losses:
                metrics["loss"] = sum(float(loss) for loss in losses) / len(losses)
            run.log_metrics(metrics)

        tensor.backward = backward
        handle = steps.register_optimizer_step_post_hook(stepped)

        def undo() -> None:
            tensor.backward = original
            handle.remove()

        return undo


def _settings(run: Run, optimizer: Any) -> None:
    groups = optimizer.param_groups
    weights = sum(tensor.numel() for group in groups for tensor in group["params"])
    run.log_params(optimizer=type(optimizer).__name__, trained_weights=weights)
    told = {name: value for name, value in groups[0].items() if name != "params"}
    run.log_params({f"optimizer.{name}": value for name, value in settings(told).items()})


TORCH: Autolog = _Torch()
"""PyTorch."""
