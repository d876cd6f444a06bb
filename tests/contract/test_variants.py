"""Names under which a method has a second configuration: the command line, Python and saved runs understand them."""

from __future__ import annotations

import pytest
import yaml

import vos_zoo
from vos_zoo.cli import main
from vos_zoo.config.layers import load_config, method_of, save_config
from vos_zoo.config.resources import config_folder, variants
from vos_zoo.registry import available_methods
from vos_zoo.types import UsageError

VARIANTS = sorted(variants().items())


def test_a_variant_is_no_method_and_names_one_that_exists() -> None:
    assert VARIANTS
    assert not set(variants()) & set(available_methods())
    assert set(variants().values()) <= set(vos_zoo.available_models())


@pytest.mark.parametrize(("name", "method"), VARIANTS)
def test_a_variants_configuration_is_the_methods_with_its_own_keys_over_it(name: str, method: str) -> None:
    own = yaml.safe_load((config_folder() / f"{name}.yaml").read_text())
    plain, variant = load_config(method), load_config(name)
    assert method_of(name) == variant.method == method
    assert variant.model == {**plain.model, **own["model"]} != plain.model
    assert (variant.optim, variant.data) == (plain.optim, plain.data)
    again = load_config(name, overrides=[f"model.{key}={plain.model[key]}" for key in own["model"]])
    assert again.model == plain.model


@pytest.mark.parametrize(("name", "method"), VARIANTS)
def test_a_file_or_an_override_can_name_a_variant_and_a_saved_run_repeats_it(name: str, method: str, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(f"method: {name}\nseed: 3\n")
    ours = load_config(files=[tmp_path / "mine.yaml"])
    assert (ours.method, ours.seed, ours.model) == (method, 3, load_config(name).model)
    assert load_config(overrides=[f"method={name}"]).model == ours.model
    assert load_config(files=[save_config(ours, tmp_path / "saved.yaml")]) == ours


@pytest.mark.parametrize(("name", "method"), VARIANTS)
def test_a_variant_makes_a_model_that_is_saved_under_its_method(name: str, method: str, tmp_path) -> None:
    own = yaml.safe_load((config_folder() / f"{name}.yaml").read_text())["model"]
    small = {"backbone": "timm:test_resnet", "decoder_dim": 8}
    model = vos_zoo.create_model(name, **small)
    assert model.method == method
    assert {key: model.hparams["model"][key] for key in own} == own
    model.save_pretrained(tmp_path)
    loaded = vos_zoo.VOSModel.from_pretrained(tmp_path)
    plain = vos_zoo.create_model(method, **small)
    assert loaded.state_dict().keys() == model.state_dict().keys() != plain.state_dict().keys()


@pytest.mark.parametrize(("name", "method"), VARIANTS)
def test_the_recipes_of_the_method_are_those_of_its_variants(name: str, method: str) -> None:
    plain, variant = (load_config(n, recipe="quickstart") for n in (method, name))
    assert variant.model.keys() == plain.model.keys()
    assert variant.model != plain.model
    assert variant.trainer == plain.trainer


def test_a_name_that_is_nearly_a_variant_is_proposed(capsys) -> None:
    name = VARIANTS[0][0]
    with pytest.raises(UsageError, match=f"did you mean '{name}'"):
        load_config(f"{name}s")
    assert main(["fit", "--model", f"{name}s"]) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize(("name", "method"), VARIANTS)
def test_a_variant_trains_from_the_command_line(name: str, method: str, tmp_path, capsys) -> None:
    words = ["data.batches_per_epoch=1", "data.batch_size=1", "data.workers=0", "trainer.max_epochs=1"]
    words += ["trainer.limit_val_batches=0", "data.synthetic.frames=6", "data.synthetic.train_videos=1"]
    code = main(["fit", "--model", name, "--recipe", "quickstart", f"output={tmp_path}", "run_name=run", *words])
    assert code == 0, capsys.readouterr().err
    saved = vos_zoo.VOSModel.from_pretrained(tmp_path / "run" / "model")
    own = yaml.safe_load((config_folder() / f"{name}.yaml").read_text())["model"]
    assert saved.method == method
    assert {key: saved.hparams["model"][key] for key in own} == own
