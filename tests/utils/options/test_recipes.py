"""Recipes: which one a command line names, and that each is a valid set of flags."""

import dataclasses

import pytest

from utils.errors import InputError
from utils.options.flags import make_options
from utils.options.recipes import RECIPES, named_recipe, recipe
from utils.options.training import DenoiserOptions, TrainOptions


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_valid_training_options(name):
    options = make_options(TrainOptions, {"name": "run", **RECIPES[name].train})
    assert {key: getattr(options, key) for key in RECIPES[name].train} == dict(RECIPES[name].train)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_valid_denoiser_options(name):
    options = make_options(DenoiserOptions, {"name": "run", "data": "images", **RECIPES[name].denoiser})
    assert {key: getattr(options, key) for key in RECIPES[name].denoiser} == dict(RECIPES[name].denoiser)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_leave_what_belongs_to_a_run_alone(name):
    own = {"name", "exp", "experiments", "resume", "overwrite", "data"}
    assert not own & {*RECIPES[name].train, *RECIPES[name].denoiser}


def test_dig_nano_trains_its_denoiser_at_the_size_it_uses():
    nano = RECIPES["dig_nano"]
    assert (nano.denoiser["dim"], nano.denoiser["image_size"]) == (nano.train["diffusion_dim"], nano.train["input_size"])


def test_the_paper_recipe_is_the_defaults_of_the_flags():
    assert make_options(TrainOptions, {"name": "run", **recipe("dig_eccv24").train}) == TrainOptions(name="run")


def test_the_small_recipes_denoiser_is_written_where_its_training_reads_it():
    train = make_options(TrainOptions, {"name": "run", **recipe("dig_nano").train})
    assert recipe("dig_nano").denoiser_file == train.diffusion_weights


def test_no_denoiser_is_written_under_the_published_name():
    assert recipe("dig_eccv24").denoiser_file == ""


def test_recipes_have_a_summary_each():
    assert all(r.summary for r in RECIPES.values())


def test_recipes_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe("dig_nano").summary = "another"


def test_an_unknown_recipe_is_refused_with_those_that_exist():
    with pytest.raises(InputError, match=r"--exp dig_mega is no recipe; there are dig_eccv24.*dig_nano"):
        recipe("dig_mega")


@pytest.mark.parametrize(
    "args",
    [
        ["--exp", "dig_nano"],
        ["--exp=dig_nano"],
        ["--name", "run", "--exp", "dig_nano", "--epochs", "3"],
        ["--exp", "dig_eccv24", "--exp=dig_nano"],
    ],
)
def test_the_recipe_is_read_from_the_command_line(args):
    assert named_recipe(args) is RECIPES["dig_nano"]


@pytest.mark.parametrize("args", [[], ["--name", "dig_nano"], ["--name=--exp", "--epochs", "3"], ["--exp"]])
def test_a_line_without_a_recipe_takes_the_paper_recipe(args):
    assert named_recipe(args) is RECIPES["dig_eccv24"]


def test_a_recipe_that_is_nearly_one_is_told_which():
    with pytest.raises(InputError, match=r"^--exp dig_nanno is no recipe \(did you mean 'dig_nano'\?\)$"):
        named_recipe(["--exp", "dig_nanno"])


def test_a_misspelt_recipe_on_the_command_line_is_refused():
    with pytest.raises(InputError, match="--exp nano is no recipe"):
        named_recipe(["--name", "run", "--exp=nano"])
