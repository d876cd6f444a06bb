"""Saving and loading models: folders and single files for the hub, training checkpoints, published weights."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import pytorch_lightning as pl
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vos_zoo import __version__
from vos_zoo.config.resources import card_pictures, model_card
from vos_zoo.downloads.fetching import fetch, file_digest, is_url, offline, split_url
from vos_zoo.downloads.published import get_file
from vos_zoo.engine.confidence import CONFIDENCE_FILE, Calibration
from vos_zoo.engine.target_model import AnyTargetModel
from vos_zoo.files.atomic import atomic_file, atomic_folder, write_text
from vos_zoo.hub.formats import FORMAT_VERSION, migrate
from vos_zoo.hub.shared_entries import read_entries
from vos_zoo.hub.weights import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    LocalWeights,
    missing_weights_error,
    named_weights,
    unknown_weights_error,
)
from vos_zoo.nn.state_dicts import find_state_dict
from vos_zoo.nn.unpickling import load_converted, read_state_dict
from vos_zoo.registry import load_method
from vos_zoo.types import UsageError

_HUB_OPTIONS = ("revision", "cache_dir", "token", "force_download", "local_files_only")
_PARTS = ("method", "model", "track", "optim")
_CONFIGURATION, _CALIBRATION = "vos_zoo", "vos_zoo_confidence"
"""Names of the texts in a weights file."""


class Pretrained(pl.LightningModule, PyTorchModelHubMixin, library_name="vos-zoo", tags=["video-object-segmentation"]):
    """A module that is saved as a folder and loaded from folders, files, the hub, addresses and published weights.

    Attributes:
        network: the target model.
        method: name of the method.
        origin: where the weights come from, if they were not trained from scratch: the name they are
            known by, file and sha256 of converted ones, licence and page if known; "trained" where they were
            fine-tuned since.
        calibration: how the confidence of results is made; the general one, unless the folder of the weights has one.
    """

    network: AnyTargetModel
    method: str
    origin: Mapping[str, str] = {}
    calibration: Calibration = Calibration()
    _settings_kept: dict[str, Any]

    # -- saving ------------------------------------------------------------------------------------------------------

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write model.safetensors, config.json, README.md (the method's card) and its images; written atomically.

        Calibrated weights have confidence.json, too.

        The weights file also contains configuration and calibration, so it can be loaded alone, for example from an
        address.
        """
        config = json.dumps(self._configuration(), indent=2) + "\n"
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        calibration = {} if self.calibration == Calibration() else {_CALIBRATION: self.calibration.to_json()}
        with atomic_file(save_directory / WEIGHTS_FILE) as temporary:
            save_file(state, temporary, metadata={"format": "pt", _CONFIGURATION: config, **calibration})
        write_text(save_directory / CONFIG_FILE, config)
        (save_directory / CONFIDENCE_FILE).unlink(missing_ok=True)
        for text in calibration.values():
            write_text(save_directory / CONFIDENCE_FILE, text)
        card = self._card()
        for name, picture in card_pictures(card).items():
            (save_directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(picture, save_directory / name)
        write_text(save_directory / CARD_FILE, card)

    def _configuration(self) -> dict[str, Any]:
        kept = json.loads(json.dumps(dict(self.hparams), default=list))
        taken = {"masks": True, "boxes": self.network.takes_boxes, "points": self.network.takes_points}
        prompts = [kind for kind, is_taken in taken.items() if is_taken]
        more = {"origin": dict(self.origin), "prompts": prompts, "shared": {}}
        return {"format_version": FORMAT_VERSION, "vos_zoo": __version__, **kept, **more}

    def _card(self) -> str:
        """The method's card; for weights with an origin it names the origin and has its licence."""
        path = model_card(self.method)
        text = path.read_text(encoding="utf-8") if path else _PLAIN_CARD.format(method=self.method)
        if not self.origin:
            return text
        card = ModelCard(text, ignore_metadata_errors=True)
        licence = str(self.origin.get("licence", ""))
        known = _HUB_LICENCES.get(licence)
        card.data["license"] = known or "other"
        if known is None:
            card.data["license_name"] = "weights-of-others"
        note = f"> The weights next to this card {self._history()} and keep their licence: {licence or 'not known'}."
        head, title, rest = card.text.partition("\n# ")
        line, _, body = rest.partition("\n")
        card.text = f"{head}{title}{line}\n\n{note}\n{body}" if title else f"{note}\n\n{card.text}"
        return str(card)

    def _history(self) -> str:
        """How the weights were made from their origin, for the card."""
        converted = "file" in self.origin or "name" not in self.origin
        how = "were trained further from" if "trained" in self.origin else "are converted from" if converted else "are"
        if not converted:
            return f"{how} `{self.origin['name']}`, which comes with vos-zoo,"
        file, sha256 = self.origin.get("file", "a file of others"), self.origin.get("sha256", "not known")
        return f"{how} `{file}` (SHA-256 `{sha256}`)"

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, **options: Any) -> str:  # type: ignore[override]
        """Upload the model as `save_pretrained` writes it.

        Args:
            repo_id: "owner/name" on the hub.
            private: whether a repository that is created is private.
            options: further keywords of `huggingface_hub.ModelHubMixin.push_to_hub` (token, branch, create_pr, ...).

        Returns:
            The address of the commit.

        Raises:
            UsageError: the weights are converted from a file whose licence does not let everybody pass it on.
        """
        if self.origin and self.origin.get("licence") not in _HUB_LICENCES and not private:
            raise UsageError(
                f"these weights are converted from {self.origin.get('file', 'a file of others')!r}, whose licence is "
                f"{self.origin.get('licence', 'not known')!r}; keep them to yourself (private=True)"
            )
        return str(super().push_to_hub(repo_id, private=private, **options))

    # -- loading -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, source: str | Path, *, sha256: str | None = None, **overrides: Any
    ) -> Self:
        """Load a model.

        Args:
            source: a folder written by `save_pretrained`, its model.safetensors alone, a checkpoint (.ckpt) written in
                training, a name that `vos-zoo weights` lists (or a method's name), a hub id "owner/name", or the http
                address of a model.safetensors or .ckpt.
            sha256: digest of the file at an address; it may be in the address, as ``#sha256=DIGEST``.
            overrides: "track" (inference settings, merged into the saved ones), "optim", "plain_cpu" (see the class);
                for hub ids also revision, cache_dir, token, force_download and local_files_only.

        Raises:
            UsageError: nothing is found, or it is not a saved model.
            VOSError: a download failed.
        """
        track = dict(overrides.pop("track", {}))
        model = cls._load_any(source, sha256, overrides)
        if track:
            model._settings_kept = {**model._settings_kept, **track}
            model.network.track_settings(**model._settings_kept)
            model.hparams["track"] = model._settings_kept
        return model.eval()

    @classmethod
    def from_authors(
        cls,
        source: str | Path | Mapping[str, Tensor],
        method: str,
        *,
        track: Mapping[str, Any] | None = None,
        origin: Mapping[str, str] | None = None,
        **hyperparameters: Any,
    ) -> Self:
        """The authors' released weights in our model; see `vos_zoo.convert_checkpoint`."""
        if not isinstance(source, Mapping) and is_url(str(source)):
            source = fetch(str(source))
        state = find_state_dict(source) if isinstance(source, Mapping) else read_state_dict(source)
        conversion = load_method(method).load_converter()(state)
        settings = {**conversion.track, **(track or {})}
        model = cls(method, {**conversion.model, **hyperparameters}, settings)  # type: ignore[call-arg]
        load_converted(model.network, state, conversion)
        if not isinstance(source, Mapping):
            model.origin = {**_origin_of(method, Path(source)), **(origin or {})}
        elif origin:
            model.origin = dict(origin)
        return model

    @classmethod
    def _load_any(cls, given: str | Path, sha256: str | None, overrides: dict[str, Any]) -> Self:
        source, path = str(given), Path(given)
        if is_url(source):
            return cls._load_file(fetch(source, sha256), split_url(source)[0], overrides)
        if sha256 is not None:
            raise UsageError(f"{source!r}: sha256 belongs to an address, and this is not one; leave it out")
        named = named_weights(given)
        if named is not None:
            return cls._load_named(named, overrides)
        if path.is_file():
            return cls._load_file(path, source, overrides)
        if path.is_dir() and not (path / CONFIG_FILE).is_file():
            raise UsageError(f"folder {source!r} has no {CONFIG_FILE}; give a folder written by save_pretrained")
        if path.is_dir():
            return cls._load_saved(path / WEIGHTS_FILE, source, _config_file(path / CONFIG_FILE, source), overrides)
        if source.count("/") != 1:
            raise unknown_weights_error(source)
        return cls._load_hub(source, overrides)

    @classmethod
    def _load_file(cls, path: Path, source: str, overrides: dict[str, Any]) -> Self:
        """Load a single file: weights with their configuration, or a training checkpoint."""
        if path.suffix == ".safetensors":
            return cls._load_saved(path, source, _config_inside(path, source), overrides)
        if path.suffix != ".ckpt":
            raise UsageError(f"{source!r} is not a folder, .ckpt or .safetensors; convert it with `vos-zoo convert`")
        try:
            loaded: Self = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True, **overrides)
        except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
            raise UsageError(f"{source!r} is not a checkpoint of vos-zoo: {_first_line(error)}") from error
        return loaded

    @classmethod
    def _load_named(cls, local: LocalWeights, overrides: dict[str, Any]) -> Self:
        """Load weights by name: shipped ones, or published ones, downloaded if possible and converted once."""
        known, folder = local.known, local.folder
        if not (folder / CONFIG_FILE).is_file():
            if local.state == "missing":
                raise missing_weights_error(local)
            file = get_file(known, read_state_dict if known.converted else None)
            if not known.converted:
                return cls._load_file(file, str(file), overrides)
            cls._convert_to(folder, file, local)
        config = _config_file(folder / CONFIG_FILE, str(folder))
        return cls._load_saved(folder / WEIGHTS_FILE, str(folder), config, overrides)

    @classmethod
    def _convert_to(cls, folder: Path, file: Path, local: LocalWeights) -> None:
        """Convert an authors' file to a model folder; safe for concurrent processes."""
        known = local.known
        origin = {"name": known.name, "page": known.page, "licence": known.licence}
        model = cls.from_authors(file, local.method, track=known.track, origin=origin)
        with atomic_folder(folder) as draft:
            model.save_pretrained(draft)

    @classmethod
    def _load_hub(cls, source: str, overrides: dict[str, Any]) -> Self:
        options = {name: overrides.pop(name) for name in _HUB_OPTIONS if name in overrides}
        if offline():
            options["local_files_only"] = True
        try:
            config, weights = (Path(hf_hub_download(source, name, **options)) for name in (CONFIG_FILE, WEIGHTS_FILE))
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"cannot load {source!r} from the hub: {_first_line(error)}") from error
        _fetch_calibration(source, options)
        return cls._load_saved(weights, source, _config_file(config, source), overrides)

    @classmethod
    def _load_saved(cls, weights: Path, source: str, config: Mapping[str, Any], overrides: dict[str, Any]) -> Self:
        """Load weights and their configuration, entry by entry."""
        try:
            known = {name: config[name] for name in _PARTS if name in config}
            model = cls(**{**known, **overrides})
            model.load_state_dict(read_entries(weights, config.get("shared", {}), model.state_dict()))
            model.origin = dict(config.get("origin") or {})
            model.calibration = _calibration_of(weights)
        except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{source!r} is not a saved model: {_first_line(error)}") from error
        except RuntimeError as error:
            entry = str(error).splitlines()[-1].strip()
            raise UsageError(f"the weights in {source!r} do not fit its {CONFIG_FILE}: {entry}") from error
        return model


_HUB_LICENCES = {"GPL-3.0": "gpl-3.0", "Apache-2.0": "apache-2.0", "MIT": "mit", "cc-by-nc-4.0": "cc-by-nc-4.0"}
"""Licences of weights as the hub writes them."""
_PLAIN_CARD = """---
library_name: vos-zoo
pipeline_tag: image-segmentation
tags:
  - video-object-segmentation
---

# {method}

A model of vos-zoo. `config.json` says how it is built.
"""


def _fetch_calibration(source: str, options: Mapping[str, Any]) -> None:
    """Download confidence.json of a model on the hub, beside its weights; most models have none."""
    try:
        hf_hub_download(source, CONFIDENCE_FILE, **options)
    except LocalEntryNotFoundError:  # offline, or no connection: weights and configuration were in the cache
        if not options.get("local_files_only"):
            warnings.warn(
                f"{source}: {CONFIDENCE_FILE} cannot be looked up on the hub; expected IoUs may be uncalibrated",
                stacklevel=2,
            )
    except EntryNotFoundError:
        return  # it has none
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"cannot load {source!r} from the hub: {_first_line(error)}") from error


def _calibration_of(weights: Path) -> Calibration:
    """The calibration beside a weights file, else the one in it, else the general one."""
    beside = weights.parent / CONFIDENCE_FILE
    text = None if beside.is_file() else _inside(weights, _CALIBRATION)
    return Calibration.load(beside) if text is None else Calibration.from_json(text, str(weights))


def _inside(path: Path, name: str) -> str | None:
    """A text that `save_pretrained` put into a weights file."""
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get(name)


def _config_file(path: Path, source: str) -> dict[str, Any]:
    try:
        return migrate(dict(json.loads(path.read_text(encoding="utf-8"))), source)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{source!r} is not a saved model: {_first_line(error)}") from error


def _config_inside(path: Path, source: str) -> dict[str, Any]:
    """The configuration in a weights file, or the one next to it."""
    try:
        text = _inside(path, _CONFIGURATION)
        if text is not None:
            return migrate(dict(json.loads(text)), source)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise UsageError(f"{source!r} is not a saved model: {_first_line(error)}") from error
    if (path.parent / CONFIG_FILE).is_file():
        return _config_file(path.parent / CONFIG_FILE, source)
    raise UsageError(f"{source!r} does not say how its model is built; put the {CONFIG_FILE} saved with it next to it")


def _origin_of(method: str, path: Path) -> dict[str, str]:
    """Name and digest of an authors' file; licence and page if a published file has that name."""
    known = next((weights for weights in load_method(method).weights if weights.file == path.name), None)
    more = {} if known is None else {"name": known.name, "page": known.page, "licence": known.licence}
    return {"file": path.name, "sha256": file_digest(path), **more}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
