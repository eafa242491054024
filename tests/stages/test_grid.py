"""Grids: every combination once, and what makes no grid is said before anything is loaded."""

from __future__ import annotations

import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.stages.grid import read_grid
from asr_headroom.stages.train import TrainStageConfig


def base(**changes):
    return TrainStageConfig(model="m", train="t", dev="d", **changes)


def test_every_combination_with_its_config():
    grid = read_grid({"learning_rate": ["1e-4", 1e-3], "lora": {"rank": [8, 32, 64]}}, base(max_steps=7))
    assert len(grid.settings) == 6
    assert grid.merged == 0
    assert [s.name for s in grid.settings] == list("123456")
    assert grid.settings[0].values == {"learning_rate": 1e-4, "lora.rank": 8}
    assert {(s.config.learning_rate, s.config.lora.rank) for s in grid.settings} == {
        (rate, rank) for rate in (1e-4, 1e-3) for rank in (8, 32, 64)
    }
    assert all(s.config.max_steps == 7 for s in grid.settings)


def test_dotted_and_nested_are_the_same():
    assert read_grid({"lora.rank": [8, 16]}, base()) == read_grid({"lora": {"rank": [8, 16]}}, base())


def test_a_field_that_means_nothing_to_a_method_makes_no_further_settings():
    """A rank is nothing to full fine-tuning; 1e-4 is what LoRA has by default."""
    grid = read_grid({"method": ["lora", "full"], "lora.rank": [8, 16]}, base())
    assert [(s.config.method, s.config.lora.rank) for s in grid.settings] == [("lora", 8), ("lora", 16), ("full", 8)]
    assert grid.merged == 1
    assert read_grid({"learning_rate": [None, 1e-4, 1e-3]}, base()).merged == 1


def test_what_is_off_makes_no_further_settings():
    """No replay has no share, no noise no ratio, and epochs are not counted where steps are given."""
    replay = read_grid({"replay": [None, "r"], "replay_share": [0.1, 0.3]}, base())
    assert [(s.config.replay, s.config.replay_share) for s in replay.settings] == [
        (None, 0.1), ("r", 0.1), ("r", 0.3),
    ]  # fmt: skip
    noise = {"augment.noise.probability": [0, 0.5], "augment.noise.snr": [[0, 5], [10, 20]]}
    assert (len(read_grid(noise, base()).settings), read_grid(noise, base()).merged) == (3, 1)
    assert len(read_grid({"num_train_epochs": [1, 2]}, base()).settings) == 2
    with pytest.raises(ConfigError, match="single setting"):
        read_grid({"num_train_epochs": [1, 2]}, base(max_steps=9))


def test_names_sort_as_they_begin():
    grid = read_grid({"max_steps": list(range(1, 13))}, base())
    assert [s.name for s in grid.settings][:2] == ["01", "02"]
    assert grid.settings[11].name == "12"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lora.rnk": [8, 16]}, r"unknown field 'lora.rnk'; did you mean 'lora.rank'\?"),
        ({"learning_rat": [1e-4]}, r"unknown field 'learning_rat'; did you mean 'learning_rate'\?"),
        ({"dev": ["a", "b"]}, "dev cannot vary: it decides what dev measures"),
        ({"eval_utterances": [10, 20]}, "eval_utterances cannot vary: it decides what dev measures"),
        ({"seed": [1, 2]}, "seed cannot vary: it is noise"),
        ({"guard.points": [1, 2]}, "guard.points cannot vary: it chooses after the race"),
        ({"budget": ["5m", "10m"]}, "budget cannot vary"),
        ({"learning_rates": [[1e-4]]}, "learning_rates cannot vary: vary learning_rate"),
        ({"lora.rank": [8, 8, 16]}, "lora.rank names 8 2 times"),
        ({"learning_rate": ["1e-4", 0.0001]}, "learning_rate names 0.0001 2 times"),
        ({"lora.rank": []}, "lora.rank has no value"),
        ({"lora.rank": [8]}, "single setting"),
        ({}, "single setting"),
        ({"lora.rank": [8, "many"]}, "lora.rank is 'many'; it must be a int"),
        ({"lora.rank": [8, 0]}, r"lora.rank is 0|rank is 0"),
        ({"method": ["lora", "ful"]}, r"method is 'ful'; did you mean 'full'"),
    ],
)
def test_what_makes_no_grid(grid, message):
    with pytest.raises(ConfigError, match=message):
        read_grid(grid, base())


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        read_grid({"lora.rnk": [8], "seed": [1, 2]}, base())
    assert len(str(caught.value).splitlines()) == 2


def test_learning_rates_are_another_mechanism():
    with pytest.raises(ConfigError, match="in an ablation vary learning_rate"):
        read_grid({"lora.rank": [8, 16]}, base(learning_rates=(1e-4, 1e-3)))
