"""Saving and loading models: folders for the hub, checkpoints of the training."""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import pytorch_lightning as pl
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vos_zoo.core.target_model import TargetModel
from vos_zoo.registry import available_models
from vos_zoo.resources import model_card
from vos_zoo.types import UsageError

FORMAT_VERSION = 1


class Pretrained(pl.LightningModule, PyTorchModelHubMixin, library_name="vos-zoo", tags=["video-object-segmentation"]):
    """A module that is saved as a folder and loaded from folders, checkpoints and the hub.

    Attributes:
        network: the target model.
        method: name of the method.
    """

    network: TargetModel
    method: str
    _settings_kept: dict[str, Any]

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write model.safetensors, config.json and README.md (the method's card)."""
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, save_directory / "model.safetensors", metadata={"format": "pt"})
        config = {"format_version": FORMAT_VERSION, **json.loads(json.dumps(dict(self.hparams), default=list))}
        (save_directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        card = model_card(self.method)
        if card is not None:
            (save_directory / "README.md").write_text(card.read_text())

    @classmethod
    def from_pretrained(cls, source: str | Path, **overrides: Any) -> Self:  # type: ignore[override]
        """Load a model.

        Args:
            source: a folder written by `save_pretrained`, a checkpoint (.ckpt) written in training, or a hub id
                "owner/name".
            overrides: "track" (inference settings, merged into the saved ones), "optim"; for hub ids also revision,
                cache_dir, token, force_download and local_files_only.

        Raises:
            UsageError: nothing is found there, or it is not a saved model.
        """
        track = dict(overrides.pop("track", {}))
        model = cls._load_any(str(source), overrides)
        if track:
            model._settings_kept = {**model._settings_kept, **track}
            model.network.track_settings(**model._settings_kept)
            model.hparams["track"] = model._settings_kept
        return model.eval()

    @classmethod
    def _load_any(cls, source: str, overrides: dict[str, Any]) -> Self:
        path = Path(source)
        if path.is_file() and path.suffix == ".ckpt":
            try:
                loaded: Self = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True, **overrides)
            except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
                raise UsageError(f"{source!r} is not a checkpoint of vos-zoo: {_first_line(error)}") from error
            return loaded
        if path.is_file():
            raise UsageError(f"{source!r} is no folder or .ckpt; authors' files go through `vos-zoo convert` first")
        if path.is_dir() and not (path / "config.json").is_file():
            raise UsageError(f"folder {source!r} has no config.json; give a folder written by save_pretrained")
        if path.is_dir():
            return cls._load_folder(path, overrides)
        if source in available_models():
            raise UsageError(f"no weights named {source!r} are at hand; convert the authors' file, or give a folder")
        if source.count("/") != 1:
            raise UsageError(f"no weights at {source!r}: neither a folder, a .ckpt nor a hub id 'owner/name'")
        try:
            return super().from_pretrained(source, strict=True, **overrides)  # type: ignore[no-any-return]
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"cannot load {source!r}: {_first_line(error)}") from error

    @classmethod
    def _load_folder(cls, folder: Path, overrides: dict[str, Any]) -> Self:
        """A folder written by `save_pretrained`, entry by entry."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            written = int(config.get("format_version", 1))
            if written > FORMAT_VERSION:
                raise UsageError(
                    f"{str(folder)!r} is of format {written}, this version reads {FORMAT_VERSION}; update vos-zoo"
                )
            known = {name: config[name] for name in ("method", "model", "track", "optim") if name in config}
            model = cls(**{**known, **overrides})
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{str(folder)!r} is not a saved model: {_first_line(error)}") from error
        except RuntimeError as error:
            entry = str(error).splitlines()[-1].strip()
            raise UsageError(f"the weights in {str(folder)!r} do not fit its config.json: {entry}") from error
        return model


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
