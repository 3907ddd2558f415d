import tomllib
from dataclasses import replace
from importlib import resources

import pytest

from index.errors import InvalidInput
from training.recipe import (
    OptimiserRecipe,
    form_names,
    load_form,
    load_recipe,
    parse_recipe,
    recipe_names,
)


@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_is_read_and_survives_a_round_trip(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(recipe.as_dict()) == recipe


def test_m1_is_the_papers_setting():
    recipe = load_recipe("M1")
    assert set(recipe.losses) == {"ce", "triplet"}
    assert recipe.data.image_hw == (288, 144)
    assert (recipe.data.identities, recipe.data.images_per_modality) == (8, 4)
    assert (recipe.model.backbone, recipe.model.non_local) == ("resnet50", (0, 2, 3, 0))
    assert recipe.augment.pad == 10
    assert recipe.optimiser.epochs == 100


def test_the_rows_of_table_3_differ_in_nothing_but_their_weights():
    rows = {name: load_recipe(name) for name in ("M1", "M2", "M3", "M4", "M5", "PECA")}
    weights = {name: {term: s["weight"] for term, s in row.losses.items()} for name, row in rows.items()}
    assert weights == {
        "M1": {"ce": 1, "triplet": 1},
        "M2": {"ce": 1, "ins": 1},
        "M3": {"ce": 1, "ins": 1, "mod": 0.5},
        "M4": {"ce": 1, "ins": 1, "mod": 0.5, "sim": 1},
        "M5": {"ce": 1, "ins": 1, "mod": 0.5, "mix": 1},
        "PECA": {"ce": 1, "ins": 1, "mod": 0.5, "sim": 1, "mix": 1},
    }
    assert len({repr(replace(row, name="", losses={})) for row in rows.values()}) == 1


def test_the_schedule_warms_up_and_decays_as_the_field_does():
    rate = OptimiserRecipe().rate
    warm_up = [rate(epoch) for epoch in range(10)]
    assert warm_up == pytest.approx([0.01 * (epoch + 1) for epoch in range(10)])
    assert [rate(epoch) for epoch in (10, 19, 20, 49, 50, 99)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_a_recipe_of_ones_own_is_read_from_its_path(tmp_path):
    text = (resources.files("training") / "recipes" / "M1.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('"M1"', '"mine"'))
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\nlosses = {}\nlr = 1", "lr: Unexpected keyword argument"),
        ("name = 'x'\n[losses]\nce = {weight = 1}\n[optimiser]\nlr = -1", "optimiser.lr: .* greater than 0"),
        ("name = 'x'\n[losses]\n[model]\nbackbone = 'resnet7'", "model.backbone: .*resnet18"),
        ("losses = {}", "name: "),
    ],
)
def test_a_wrong_recipe_says_where(text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_recipe(tomllib.loads(text))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidInput, match="no recipe 'M7'; there are M1, M2, M3"):
        load_recipe("M7")


@pytest.mark.parametrize("form", form_names())
@pytest.mark.parametrize("name", recipe_names())
def test_a_form_changes_what_it_names_and_nothing_else(name, form):
    recipe, changes = load_recipe(name), load_form(form)
    before, after = recipe.as_dict(), recipe.amended(changes).as_dict()
    assert after["losses"] == before["losses"]
    for table, values in changes.items():
        assert {key: after[table][key] for key in values} == values
        kept = before[table].keys() - values.keys()
        assert {key: after[table][key] for key in kept} == {key: before[table][key] for key in kept}


def test_a_wrong_form_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no form 'huge'; there are brief, small"):
        load_form("huge")
    path = tmp_path / "mine.toml"
    path.write_text("[model]\ndepth = 3\n")
    with pytest.raises(InvalidInput, match=r"model\.depth"):
        load_recipe("M1").amended(load_form(str(path)))
