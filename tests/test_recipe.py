"""Recipes: equal ones give one network per process, and a changed file another."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mininet
from mininet import recipe
from mininet.recipe import Recipe


def _save(path: Path, seed: int) -> None:
    mininet.create_model("mobilenet_v2", f"random:{seed}", width=0.1, num_classes=4).save(path)


def test_equal_recipes_share_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path / "net.safetensors", 0)
    monkeypatch.chdir(tmp_path)
    one = Recipe.of(weights="net.safetensors", options={"labels": ["a", "b", "c", "d"]})
    two = Recipe.of(weights=tmp_path / "net.safetensors", options={"labels": ("a", "b", "c", "d")})
    assert one == two == pickle.loads(pickle.dumps(one))
    assert one.network() is two.network() is pickle.loads(pickle.dumps(two)).network()
    assert one.network().labels == ("a", "b", "c", "d")
    other = Recipe.of(weights="net.safetensors")
    assert other.network() is not one.network()


def test_a_changed_file_gives_another_network(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    _save(path, 0)
    before = Recipe.of(weights=path).network()
    _save(path, 1)
    after = Recipe.of(weights=path).network()
    assert not np.array_equal(
        before.state_dict()["classifier.1.weight"], after.state_dict()["classifier.1.weight"]
    )


def test_threads_that_come_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    create = recipe.create_model

    def watched(*args: Any, **options: Any) -> mininet.Network:
        built.append(args)
        return create(*args, **options)

    monkeypatch.setattr(recipe, "create_model", watched)
    wanted = Recipe.of("mobilenet_v2", f"random:{os.getpid()}", options={"width": 0.1})
    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(lambda _: wanted.network(), range(32)))
    assert len(built) == 1
    assert len(set(map(id, networks))) == 1


def test_weights_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    _save(path, 0)
    net = Recipe.of(weights=path).network()
    array = net.graph.params["classifier.1.weight"]
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_a_missing_file_is_the_reader_s_error(tmp_path: Path) -> None:
    with pytest.raises(mininet.WeightsError, match="nowhere"):
        Recipe.of(weights=tmp_path / "nowhere.safetensors").network()
