"""Parts of a model by name, and how deep each weight lies: what is frozen, and what learns more slowly.

A part is a role (:data:`ROLES`), told from the names that transformers gives its modules, or a module by its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from asr_headroom.errors import ConfigError, did_you_mean

__all__ = ["ROLES", "freeze_parts", "frozen_names", "is_frozen", "layer_depths", "layer_lists", "part_names"]

ROLES = {
    "feature_extractor": ("feature_extractor", "feature_projection"),
    "encoder": ("encoder", "audio_tower"),
    "projector": ("projector", "multi_modal_projector", "encoder_projector"),
    "decoder": ("decoder", "language_model"),
    "head": ("lm_head", "proj_out", "ctc_head", "joint"),
}
"""Names of modules by role, in the order in which audio passes through them."""

_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_RANK = {role: rank for rank, role in enumerate(ROLES)}
_WRAPPERS = ("base_model.model.", "module.")
"""What PEFT and the loss put before a weight's own name."""


def freeze_parts(module: nn.Module, names: Iterable[str]) -> int:
    """Holds the weights of some parts where they are; returns how many that stops.

    Args:
        module: a model, or a PEFT model around it, whose updates are held with the part they are on.
        names: roles, or names of modules such as ``model.encoder.layers.0``.

    Raises:
        ConfigError: a part has another name in this model, or nothing would be left to train.
    """
    weights = dict(module.named_parameters())
    inside = [weights[name] for name in frozen_names(list(weights), names)]
    stopped = sum(parameter.numel() for parameter in inside if parameter.requires_grad)
    for parameter in inside:
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError(f"freeze: with {', '.join(names)} frozen nothing is left to train; name fewer parts")
    return stopped


def frozen_names(weights: Sequence[str], parts: Iterable[str]) -> list[str]:
    """The weights, by name, that lie in some of the parts.

    Raises:
        ConfigError: a part has another name in this model.
    """
    frozen: dict[str, None] = {}
    for wanted in parts:
        inside = [name for name in weights if is_frozen(name, [wanted])]
        if not inside:
            known = _roles_of(weights)
            raise ConfigError(
                f"freeze: this model has no part '{wanted}'; it has {', '.join(known)}, and modules by their own name"
                f"{did_you_mean(wanted, known)}"
            )
        frozen |= dict.fromkeys(inside)
    return list(frozen)


def is_frozen(name: str, parts: Iterable[str]) -> bool:
    """Whether a weight, or a module, lies in one of these parts.

    >>> is_frozen("model.encoder.layers.0.fc1.weight", ["encoder"])
    True
    """
    return any(_is_in(wanted, _own_name(name)) for wanted in parts)


def part_names(module: nn.Module) -> list[str]:
    """Roles that this model has, in the order of :data:`ROLES`."""
    return _roles_of([name for name, _ in module.named_parameters()])


def _roles_of(weights: Iterable[str]) -> list[str]:
    present = {_role_of(_own_name(name)) for name in weights}
    return [role for role in ROLES if role in present]


def layer_depths(module: nn.Module) -> tuple[dict[str, int], int]:
    """Layers between the audio and each weight, by its name, and how many layers there are in all.

    Stacks are lists of modules of one class. They follow each other in the order of the roles, within a role in that of
    the model; what stands before a stack has the depth of what comes in, what stands after it that of its last layer.
    """
    named = [(name, _own_name(name)) for name, _ in module.named_parameters()]
    order = sorted(range(len(named)), key=lambda i: (_RANK.get(_role_of(named[i][1]) or "", len(_RANK)), i))
    stacks = {name: len(layers) for name, layers in layer_lists(module).items()}
    depths: dict[str, int] = {}
    begins: dict[str, int] = {}
    passed = 0
    for index in order:
        name, _ = named[index]
        stack = next((prefix for prefix in stacks if name.startswith(prefix + ".")), None)
        if stack is None:
            depths[name] = passed
            continue
        if stack not in begins:
            begins[stack] = passed
            passed += stacks[stack]
        depths[name] = begins[stack] + int(name[len(stack) + 1 :].split(".", 1)[0]) + 1
    return depths, passed


def layer_lists(module: nn.Module) -> dict[str, nn.ModuleList]:
    """Outermost lists of modules of one class, by name."""
    stacks: dict[str, nn.ModuleList] = {}
    for name, part in module.named_modules():
        inside_one = any(name.startswith(prefix + ".") for prefix in stacks)
        if isinstance(part, nn.ModuleList) and len(part) and len({type(m) for m in part}) == 1 and not inside_one:
            stacks[name] = part
    return stacks


def _own_name(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _role_of(name: str) -> str | None:
    """By the outermost module that has one: a projector may hold an encoder of its own."""
    return next((_ROLE_OF[part] for part in name.split(".") if part in _ROLE_OF), None)


def _is_in(wanted: str, name: str) -> bool:
    return name.startswith(wanted + ".") if wanted not in ROLES else _role_of(name) == wanted
