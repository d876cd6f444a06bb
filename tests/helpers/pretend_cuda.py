"""A pretend CUDA device: tensors that say ``cuda:0`` and hold values of the CPU.

Code takes the branches it takes on a GPU. A tensor of the CPU that meets one of the device raises `DeviceMismatch`, as
CUDA would (scalars and index tensors may meet it). Everything that would make the host wait, and every kernel, is
counted. Two kinds of tensor are needed: "cuda" says so to C++, too, so that autocast works, but has no backward;
"meta" has.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from torch.utils.flop_counter import flop_registry

from tests.helpers.device_log import DeviceLog, where
from vos_zoo.tensors import constant

aten = torch.ops.aten
DEVICE = torch.device("cuda:0")
LOG = DeviceLog()

_MOVES = {aten._to_copy.default, aten.copy_.default, aten.lift_fresh.default, aten.lift.default}
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
# fmt: off
_SIZE_FROM_DATA = frozenset({
    "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave", "bincount",
    "equal", "is_nonzero",
})
# fmt: on


class DeviceMismatch(RuntimeError):
    """A tensor of the CPU met one of the device."""


class _State:
    """How tensors are made, and whether heavy products are computed."""

    kind = "cuda"
    lazy = False


class Pretend(Tensor):
    """A tensor on the pretend device; `elem` holds its values on the CPU."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor) -> Pretend:
        """Wrap a tensor of the CPU."""
        assert not isinstance(elem, Pretend) and elem.device.type == "cpu", (type(elem), elem.device)
        if _State.kind == "cuda":
            found = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                elem.shape,
                strides=elem.stride(),
                storage_offset=elem.storage_offset(),
                dtype=elem.dtype,
                layout=elem.layout,
                device=DEVICE,
            )
        else:
            found = Tensor._make_subclass(  # type: ignore[attr-defined]
                cls, _like(elem), False, dispatch_device=False, device_for_backend_keys=DEVICE
            )
        found.elem = elem
        return found  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Not from a GPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Not from a GPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        """Its values; the host waits."""
        return self.to("cpu")

    def __repr__(self, **_: Any) -> str:
        """Shape and format."""
        return f"Pretend({tuple(self.elem.shape)}, {self.elem.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator."""
        return _run(func, args, kwargs or {})


def _like(elem: Tensor) -> Tensor:
    """A tensor without values of the same shape, strides and offset."""
    reach = sum((size - 1) * stride for size, stride in zip(elem.shape, elem.stride(), strict=True)) + 1
    length = elem.storage_offset() + (reach if elem.numel() else 0)
    flat = torch.empty(length, dtype=elem.dtype, device="meta")
    return flat.as_strided(elem.shape, elem.stride(), elem.storage_offset())


def values(found: Any) -> Any:
    """A tensor's values on the CPU, without being counted."""
    return found.elem if isinstance(found, Pretend) else found


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operator that meets the device, or creates a tensor there."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    mine = [x for x in tensors if isinstance(x, Pretend)]
    asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if mine:
        _check(func, args, [x for x in tensors if not isinstance(x, Pretend)])
        _count_waits(func, args, kwargs)
    if func is aten._to_copy.default and isinstance(args[0], Pretend) != (asked is None or asked.type != "cpu"):
        return _moved(func, args[0], kwargs, asked)
    if func is aten.copy_.default and len(mine) == 1 and (args[1].dim() or isinstance(args[1], Pretend)):
        _count_copy(isinstance(args[0], Pretend), len(args) > 2 and args[2])
        values(args[0]).copy_(values(args[1]))
        return args[0]
    on_device = bool(mine) if asked is None else asked.type != "cpu"
    plain = {**kwargs, **({} if asked is None else {"device": torch.device("cpu")})}
    found = _computed(func, tree_map(values, args), tree_map(values, plain))
    if not on_device:
        return found
    found = tree_map_only(Tensor, lambda x: x if isinstance(x, Pretend) else Pretend(x), found)
    if mine and any(argument.alias_info is not None for argument in func._schema.arguments):
        found = return_and_correct_aliasing(func, args, kwargs, found)
    if not func.is_view:
        LOG.kernel(func.overloadpacket.__name__)
    return found


def _check(func: Any, args: Any, plain: list[Tensor]) -> None:
    """A tensor of the CPU, no scalar and no index, must not meet the device."""
    if func in _MOVES:
        return
    foreign = [x for x in plain if x.dim() > 0]
    if func in _INDEXING and isinstance(args[0], Pretend):
        indices = [i for i in args[1] if isinstance(i, Tensor)]
        for index in indices:
            if not isinstance(index, Pretend):
                LOG.wait("index from the CPU")
        foreign = [x for x in foreign if not any(x is i for i in indices)]
    if foreign:
        raise DeviceMismatch(f"{func}: cuda:0 meets a CPU tensor {tuple(foreign[0].shape)} at {where()}")


def _count_waits(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    name = func.overloadpacket.__name__
    if name == "_local_scalar_dense":
        LOG.wait("item")
    elif name in _SIZE_FROM_DATA and kwargs.get("output_size") is None:
        LOG.wait("size from data")
    elif func in _INDEXING and (func is aten.index.Tensor or args[2].numel() != 1):
        for index in args[1]:
            if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8):
                LOG.wait("boolean mask")


def _count_copy(to_device: bool, non_blocking: bool) -> None:
    if not non_blocking:
        LOG.wait("upload" if to_device else "download")
    LOG.kernel("copy")


def _moved(func: Any, source: Tensor, kwargs: dict[str, Any], asked: torch.device | None) -> Tensor:
    """A copy between CPU and device."""
    upload = asked is not None and asked.type != "cpu"
    _count_copy(upload, bool(kwargs.get("non_blocking")))
    plain = {**kwargs, "device": torch.device("cpu")}
    plain.pop("non_blocking", None)
    moved: Tensor = func(values(source), **plain)
    return Pretend(moved) if upload else moved


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operator on values of the CPU; operators that only CUDA has by their counterparts."""
    name = func.overloadpacket.__name__
    if name == "_fused_sdp_choice":
        return 2 if _State.kind == "cuda" else 0
    if name == "_scaled_dot_product_efficient_attention":
        query, key, value = args[:3]
        bias = args[3] if len(args) > 3 else kwargs.get("attn_bias")
        found = nn.functional.scaled_dot_product_attention(query, key, value, bias, scale=kwargs.get("scale"))
        seed = torch.zeros((), dtype=torch.int64)
        return found, torch.zeros(query.shape[:3]), seed, seed.clone()
    if name == "cudnn_batch_norm":
        return (*aten.native_batch_norm.default(*args), torch.empty(0, dtype=torch.uint8))
    if name == "cudnn_batch_norm_backward":
        x, gradient, weight, mean, variance, saved_mean, saved_variance, eps, _ = args
        saved = (mean, variance, saved_mean, saved_variance)
        return aten.native_batch_norm_backward.default(gradient, x, weight, *saved, True, eps, [True, True, True])
    if _State.lazy and func.overloadpacket in flop_registry:
        return _not_computed(func, args, kwargs)
    return func(*args, **kwargs)


def _not_computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Zeros of the shape of a convolution or product."""
    if any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments):
        return kwargs["out"] if "out" in kwargs else args[0]
    metas = tree_map_only(Tensor, _like, (args, kwargs))
    found = func(*metas[0], **metas[1])
    return tree_map_only(Tensor, lambda m: torch.zeros(m.shape, dtype=m.dtype).as_strided(m.shape, m.stride()), found)


class _Dispatch(TorchDispatchMode):
    """Operators that create tensors on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it there, or as usual."""
        kwargs = kwargs or {}
        asked = kwargs.get("device")
        if asked is not None and torch.device(asked).type in ("cuda", "meta"):
            return _run(func, args, kwargs)
        if any(isinstance(x, Pretend) for x in tree_flatten((args, kwargs))[0]):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


class _Functions(TorchFunctionMode):
    """What C++ does before the dispatcher sees it: tensors from data, moves, lists as indices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and wrap it, or run it as usual."""
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and _is_cuda(kwargs.get("device")):
            if isinstance(args[0], Pretend):
                return args[0]
            return _uploaded(torch.tensor(args[0], **{k: v for k, v in kwargs.items() if k != "device"}))
        if func is Tensor.new_tensor and isinstance(args[0], Pretend):
            return _uploaded(torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}))
        if func is Tensor.to and not isinstance(args[0], Pretend):
            device = kwargs.get("device", args[1] if len(args) > 1 else None)
            if isinstance(device, (str, torch.device, int)) and _is_cuda(device):
                formats = [a for a in (*args[2:], *kwargs.values()) if isinstance(a, torch.dtype)]
                source = args[0].to(formats[0]) if formats else args[0]
                return _uploaded(source, bool(kwargs.get("non_blocking")))
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Pretend):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(_uploaded_list(i) for i in index), *args[2:])
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.tolist and isinstance(args[0], Pretend):
            LOG.wait("download")
            return args[0].elem.tolist()
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _uploaded(plain: Tensor, non_blocking: bool = False) -> Pretend:
    _count_copy(True, non_blocking)
    return Pretend(plain.detach().clone())


def _uploaded_list(index: Any) -> Any:
    """A list as index is made a tensor and uploaded."""
    if isinstance(index, (list, range, tuple)):
        return _uploaded(torch.tensor(list(index), dtype=None if len(index) else torch.long))
    return index


class _Event:
    """A point in the work of the device."""

    def record(self) -> None:
        """It is reached at once."""

    def synchronize(self) -> None:
        """Nothing to wait for."""


@contextmanager
def pretending(kind: str = "cuda", lazy: bool = False) -> Iterator[DeviceLog]:
    """A CUDA device exists.

    Args:
        kind: "cuda" for tracking, with autocast; "meta" for training, with backward.
        lazy: convolutions and products return zeros of the right shape.
    """
    torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]
    _State.kind, _State.lazy = kind, lazy
    constant.cache_clear()  # type: ignore[attr-defined]
    patches: list[tuple[Any, str, Any]] = [
        (torch.cuda, "_lazy_init", lambda: None),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (torch.cuda, "Event", _Event),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    lifted = torch._C._only_lift_cpu_tensors()  # type: ignore[attr-defined]
    for owner, name, value in patches:
        setattr(owner, name, value)
    torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]
    try:
        with _Dispatch(), _Functions():
            yield LOG
    finally:
        LOG.on = False
        constant.cache_clear()  # type: ignore[attr-defined]
        torch._C._set_only_lift_cpu_tensors(lifted)  # type: ignore[attr-defined]
        for owner, name, value in before:
            setattr(owner, name, value)


def to_device(model: nn.Module) -> Any:
    """A copy of a module on the device, moved as `Module.to` moves it; inside `pretending`."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        moved = copy.deepcopy(model).to(DEVICE)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
    assert all(isinstance(x, Pretend) for x in (*moved.parameters(), *moved.buffers()))
    return moved
