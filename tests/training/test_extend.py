"""Code of one's own by import path: loss terms, backbones, readers, and each way that goes wrong."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from exporter.errors import BundleInvalid
from exporter.onnx import write_onnx
from index.errors import InvalidInput
from index.space import Modality
from training.checkpoint import LAST, load_checkpoint
from training.data.arrays import decode_images
from training.datasets.describe import describe
from training.datasets.reader import read_dataset
from training.datasets.tree import DatasetInvalid, TreeImage
from training.import_path import imported, imported_class, is_import_path, settings_of
from training.losses.objective import Objective
from training.losses.term import LossTerm, Need, StepOutputs
from training.models.backbone import OwnBackbone
from training.models.encoder import Encoded, Encoder, Stream
from training.models.frozen import FrozenEncoder
from training.models.network import load_pretrained
from training.options import TrainOptions
from training.recipe import Backbone, ModelRecipe, parse_recipe
from training.trainer import Trainer

DIM, IDENTITIES = 6, 5

LOSSES = """
import torch
from torch import nn
from training.losses.term import LossTerm, Need

class Plain(LossTerm):
    needs = frozenset({Need.CENTROIDS})
    def forward(self, step):
        return step.encoded.features.float().square().mean()

class Centre(LossTerm):
    # One learnt centre for each identity.
    def __init__(self, dim, num_identities, power, scale=1.0):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(num_identities, dim))
        self.power, self.scale = power, scale
    def forward(self, step):
        away = step.encoded.features.float() - self.centres[step.labels]
        return self.scale * away.abs().pow(self.power).mean()

class Rows(LossTerm):
    def forward(self, step):
        return step.encoded.features.sum(1)

class Silent(LossTerm):
    pass

class Nothing(LossTerm):
    def forward(self, step):
        return None

def function(step):
    return 0

class Stranger:
    pass
"""

NETS = """
import torch
from torch import nn
from training.models.backbone import OwnBackbone

class PreActivation(nn.Module):
    # The norm stands before the convolution, under the names that a ResNet's block has after it.
    def __init__(self, channels):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, 1, 1)
    def forward(self, maps):
        return maps + self.conv1(self.bn1(maps).relu())

class Net(OwnBackbone):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.trunk = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), PreActivation(8), nn.ReLU())
        self.dim = 8

class Signed(Net):
    def __init__(self):
        super().__init__()
        self.trunk = self.trunk[:-1]

class WrongDim(Net):
    def __init__(self):
        super().__init__()
        self.dim = 9

class Vector(Net):
    def __init__(self):
        super().__init__()
        self.trunk.append(nn.Flatten())

class Pair(Net):
    def __init__(self):
        super().__init__()
        self.trunk = Twice()

class Twice(nn.Module):
    def forward(self, maps):
        return maps, maps

class NoTrunk(OwnBackbone):
    def __init__(self):
        super().__init__()
        self.stem, self.dim = nn.Identity(), 3

class Needy(Net):
    def __init__(self, depth):
        super().__init__()

class Turn(nn.Module):
    def forward(self, maps):
        return maps.relu() if maps.mean().item() > 0 else maps.abs()

class Branching(Net):
    def __init__(self):
        super().__init__()
        self.trunk.append(Turn())
"""

DATA = """
from pathlib import Path
from index.space import Modality
from training.datasets.tree import TreeImage

def image(root, person, light, number=0, **changes):
    source = f"{person}/{light}/{number}.png"
    values = {"path": root / source, "source": source, "person_id": person, "camera_id": str(light)}
    return TreeImage(**{**values, "modality": light, **changes})

def of(root, people):
    return [image(root, person, modality, n) for person in people for modality in Modality for n in (0, 1)]

def read(root, split):
    return of(root, ["a", "b", "c"]), of(root, [f"test-{split}"])

def one_list(root, split):
    return of(root, ["a"])

def bare(root, split):
    return 3

def images(root, split):
    return of(root, ["a"]), iter(())

def paths(root, split):
    return [root / "a.png"], []

def text(root, split):
    return [image(root, "a", Modality.VISIBLE, modality="visible")], []

def number(root, split):
    return [image(root, "a", Modality.VISIBLE, person_id=7)], []

def twice(root, split):
    return of(root, ["a"]), of(root, ["a"])

def one_sided(root, split):
    return [image(root, "a", Modality.VISIBLE)], []

def shared(root, split):
    return of(root, ["a"]), [image(root, "a", Modality.VISIBLE, 9)]

def needy(root, split, fold):
    return [], []
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes modules into the current directory; what they left in the interpreter is taken back."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def write(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def step_outputs(dim=DIM):
    features = torch.randn(8, dim, requires_grad=True)
    labels, modality = torch.arange(8) % IDENTITIES, torch.arange(8) // 4
    encoded = Encoded(features[:, :, None, None], features, features, features)
    return StepOutputs(encoded, features[:, :IDENTITIES], labels, modality)


# Import paths


def test_a_name_is_taken_from_a_file_in_the_current_directory(own):
    own("own_things.py", "class Thing:\n    pass\n")
    own("own_package/__init__.py", "")
    own("own_package/inner.py", "answer = 42\n")
    assert imported("own_things:Thing").__module__ == "own_things"
    assert imported("own_package.inner:answer") == 42
    assert imported("training.losses.ce:CrossEntropyTerm").__name__ == "CrossEntropyTerm"


def test_no_file_in_the_current_directory_stands_in_for_an_installed_module(own):
    own("colorsys.py", "raise RuntimeError('the wrong one')\n")
    sys.modules.pop("colorsys", None)
    assert imported("colorsys:rgb_to_hls")(0, 0, 0) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("losses.py:Thing", r"expected module:name, such as my_losses:CentreTerm \(without .py"),
        ("folder/losses:Thing", "expected module:name"),
        (":Thing", "expected module:name"),
        ("own_good:", "expected module:name"),
        ("own_good:Thing:Other", "expected module:name"),
        (
            "own_absent:Thing",
            r"no module 'own_absent' to take 'own_absent:Thing' from; looked .* directory, /",
        ),
        ("own_good.inner:Thing", r"no module 'own_good\.inner'"),
        ("own_good:Thign", r"no 'Thign' in .*own_good\.py to take .*; it defines Thing$"),
        ("own_empty:Thing", "it defines no class and no function"),
        (
            "own_needs:Thing",
            r"'own_needs' failed .* at .*own_needs\.py line 1: ModuleNotFoundError: .*'own_not'",
        ),
        ("own_raises:Thing", r"'own_raises' failed .* at .*own_raises\.py line 2: ZeroDivisionError: "),
        ("own_syntax:Thing", r"'own_syntax' failed .* SyntaxError: .*own_syntax\.py, line 1"),
        ("own_ends:Thing", r"'own_ends' failed .* at .*own_ends\.py line 2: SystemExit: 3"),
    ],
)
def test_a_wrong_import_path_says_what_is_wrong(own, path, message):
    own("own_good.py", "from pathlib import Path\n\nclass Thing:\n    pass\n")
    own("own_empty.py", "from pathlib import Path\n")
    own("own_needs.py", "import own_not\n")
    own("own_raises.py", "\n1 / 0\n")
    own("own_syntax.py", "def (:\n")
    own("own_ends.py", "import sys\nsys.exit(3)\n")
    with pytest.raises(InvalidInput, match=message):
        imported(path)


@pytest.mark.parametrize(
    ("name", "got"),
    [("Stranger", "another class"), ("function", "something of type function"), ("torch", "of type module")],
)
def test_a_thing_of_another_kind_is_refused(own, name, got):
    own("own_losses.py", LOSSES)
    assert imported_class("own_losses:Plain", LossTerm).__name__ == "Plain"
    expected = rf"must name a subclass of training\.losses\.term\.LossTerm, it names .*{got}"
    with pytest.raises(InvalidInput, match=expected):
        imported_class(f"own_losses:{name}", LossTerm)


def test_what_a_class_takes(own):
    own("own_losses.py", LOSSES)
    assert settings_of(imported("own_losses:Plain")) == {}
    needed = {"dim": True, "num_identities": True, "power": True, "scale": False}
    assert settings_of(imported("own_losses:Centre")) == needed


def test_nothing_that_ships_looks_like_an_import_path():
    assert is_import_path("my_losses:Centre")
    assert not any(map(is_import_path, (*Backbone, "sysu", "ce", "agw+ical")))


# Loss terms


def test_a_recipe_names_a_term_of_ones_own_and_one_of_ours_twice(own):
    own("own_losses.py", LOSSES)
    losses = {
        "triplet": {"weight": 1.0},
        "soft": {"term": "triplet", "weight": 0.5, "form": "weighted"},
        "centre": {"term": "own_losses:Centre", "weight": 2.0, "power": 2},
        "plain": {"term": "own_losses:Plain", "weight": 1.0},
    }
    objective = Objective(losses, DIM, IDENTITIES)
    assert objective.terms["centre"].centres.shape == (IDENTITIES, DIM)
    assert objective.needs == {Need.CENTROIDS}
    step = step_outputs()
    total, values = objective(step)
    assert list(values) == ["triplet", "soft", "centre", "plain"]
    assert total.item() == pytest.approx(sum(losses[name]["weight"] * values[name].item() for name in values))
    total.backward()
    assert objective.terms["centre"].centres.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            {"centre": {"weight": 1}},
            r"no loss term 'centre'; there are ce, .*; of one of your own, give .*term =",
        ),
        ({"own": {"term": "own_losses:Centre", "weight": 1}}, "'own' needs a value for power"),
        ({"own": {"term": "own_losses:Centre", "weight": 1, "power": 2, "dim": 3}}, r"not \['dim'\]"),
        ({"own": {"term": "own_losses:Plain", "weight": 1, "kwargs": 2}}, r"knows \[\], not \['kwargs'\]"),
        ({"own": {"term": "own_losses:Plain"}}, "'own' needs a weight"),
        ({"own": {"term": "own_losses:function", "weight": 1}}, "must name a subclass"),
        ({"own": {"term": 3, "weight": 1}}, "no loss term 3; there are"),
        ({"loss": {"term": "ce", "weight": 1}}, "cannot have the name 'loss'"),
        ({"step": {"term": "ce", "weight": 1}}, "cannot have the name 'step'"),
        ({"a.b": {"term": "ce", "weight": 1}}, r"cannot have the name 'a\.b'; use letters, digits and _"),
        ({"training": {"term": "ce", "weight": 1}}, "cannot have the name 'training'"),
    ],
)
def test_a_wrong_term_says_what_is_wrong(own, losses, message):
    own("own_losses.py", LOSSES)
    with pytest.raises(InvalidInput, match=message):
        Objective(losses, DIM, IDENTITIES)


@pytest.mark.parametrize(
    ("name", "got"), [("Rows", r"shape \(8,\)"), ("Nothing", "NoneType"), ("Silent", "NoneType")]
)
def test_a_term_that_gives_no_scalar_is_named(own, name, got):
    own("own_losses.py", LOSSES)
    objective = Objective({"mine": {"term": f"own_losses:{name}", "weight": 1}}, DIM, IDENTITIES)
    with pytest.raises(InvalidInput, match=f"'mine' must give a scalar tensor, it gave {got}"):
        objective(step_outputs())


def test_a_run_with_own_code_goes_on_bit_for_bit_and_not_with_other_code(own, recipe, dataset, tmp_path):
    own("own_losses.py", LOSSES)
    own("own_nets.py", NETS)
    losses = {**recipe.losses, "centre": {"term": "own_losses:Centre", "weight": 0.1, "power": 2}}
    model = ModelRecipe("own_nets:Net", non_local=(0, 0, 0, 0))
    options = TrainOptions(replace(recipe, losses=losses, model=model), dataset, tmp_path / "run")
    data = decode_images(dataset.train, recipe.data.image_hw, options.out)
    trainer = Trainer(options, data)
    trainer.train_step()
    assert trainer.objective.terms["centre"].centres.abs().sum() > 0
    trainer.checkpoint().save(options.out / LAST)
    trainer.train_step()
    stored = load_checkpoint(options.out / LAST)
    assert stored.recipe["losses"]["centre"]["term"] == "own_losses:Centre"
    again = TrainOptions(parse_recipe(stored.recipe), dataset, options.out)
    resumed = Trainer(again, data)
    resumed.restore(stored)
    resumed.train_step()
    for part in ("network", "objective"):
        ours, theirs = (getattr(one, part).state_dict() for one in (trainer, resumed))
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    own("own_nets.py", NETS.replace("nn.Conv2d(4, 8, 3, 2, 1)", "nn.Conv2d(4, 8, 5, 2, 2)"))
    del sys.modules["own_nets"]
    with pytest.raises(
        InvalidInput, match="does not fit the network, whose code must be that of the training"
    ):
        Trainer(again, data).restore(stored)


# Backbones


def own_model(name="Net"):
    return ModelRecipe(f"own_nets:{name}", non_local=(0, 0, 0, 0))


def test_an_own_backbone_gives_three_stems_and_one_trunk(own):
    own("own_nets.py", NETS)
    encoder = Encoder(own_model()).eval()
    assert len({stem[0].weight.data_ptr() for stem in encoder.stems}) == len(Stream) == 3
    groups = [(stream, torch.randn(2, 3, 96, 48)) for stream in Stream]
    encoded = encoder(groups)
    assert encoded.neck.shape == (6, encoder.dim) == (6, 8)
    encoded.neck[:2].square().sum().backward()
    assert encoder.stems[Stream.VISIBLE][0].weight.grad.abs().sum() > 0
    assert encoder.stems[Stream.INFRARED][0].weight.grad.abs().sum() == 0
    assert encoder.stages[0][0].weight.grad.abs().sum() > 0
    with torch.no_grad():
        encoder.stems[Stream.GENERATED][0].weight.zero_()
    again = encoder(groups)
    assert torch.equal(again.maps[:4], encoded.maps[:4])
    assert not torch.equal(again.maps[4:], encoded.maps[4:])


def test_the_frozen_own_backbone_says_what_the_trained_one_does(own):
    own("own_nets.py", NETS)
    torch.manual_seed(0)
    encoder = Encoder(own_model())
    for _ in range(20):
        encoder([(stream, torch.randn(8, 3, 48, 24) + 1) for stream in Stream])
    encoder.eval()
    images = torch.randint(0, 256, (4, 48, 24, 3), dtype=torch.uint8)
    modality = torch.tensor([0, 1, 1, 0])
    frozen = FrozenEncoder(encoder)(images, modality)
    from training.data.augment import normalise

    for position, code in enumerate(modality.tolist()):
        neck = encoder([(Stream(code), normalise(images[position : position + 1]))]).neck
        assert torch.allclose(frozen[position], torch.nn.functional.normalize(neck, dim=1)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Signed", "maps go below zero, to -.* end the trunk in a ReLU"),
        ("WrongDim", r"must give maps \(N, dim, h, w\) with dim 9, it gave \(2, 8, 24, 12\)"),
        ("Vector", r"must give maps .* it gave \(2, 2304\)"),
        ("Pair", "must give maps .* it gave tuple"),
        ("NoTrunk", r"must set self\.trunk in __init__, to a Module"),
        ("Needy", "must be made without arguments; give depth a default"),
        ("Turn", r"must name a subclass of training\.models\.backbone\.OwnBackbone"),
        ("Absent", "there is no 'Absent' in"),
    ],
)
def test_a_wrong_backbone_says_what_is_wrong(own, name, message):
    own("own_nets.py", NETS)
    with pytest.raises(InvalidInput, match=message):
        Encoder(own_model(name))


def test_looking_at_a_backbone_leaves_the_draws_and_its_statistics_alone(own):
    own("own_nets.py", NETS)
    torch.manual_seed(5)
    first = imported_class("own_nets:Net", OwnBackbone)()
    torch.manual_seed(5)
    encoder = Encoder(own_model())
    assert torch.equal(first.stem[0].weight, encoder.stems[0][0].weight)
    assert encoder.stems[0][1].num_batches_tracked == 0
    assert encoder.stages[0].training


def test_weights_of_an_own_backbone_fill_the_three_stems_and_the_trunk(own, tmp_path):
    own("own_nets.py", NETS)
    theirs = imported("own_nets:Net")()
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    encoder = Encoder(own_model())
    loaded = load_pretrained(encoder, path)
    assert all(torch.equal(stem[0].weight, theirs.stem[0].weight) for stem in encoder.stems)
    assert torch.equal(encoder.stages[0][1].conv1.weight, theirs.trunk[1].conv1.weight)
    assert {name for name, _ in encoder.named_parameters()} - set(loaded) == {"neck.weight", "neck.bias"}
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(
        InvalidInput, match=r"no weight that fits this backbone; expected stem\.\* and trunk\.\*"
    ):
        load_pretrained(encoder, path)


def test_a_recipe_with_an_own_backbone_survives_a_round_trip_and_takes_no_non_local_blocks():
    model = {"backbone": "own_nets:Net", "non_local": [0, 0, 0, 0]}
    recipe = parse_recipe({"name": "x", "losses": {}, "model": model})
    assert recipe.model.backbone == "own_nets:Net"
    assert parse_recipe(recipe.as_dict()) == recipe
    with pytest.raises(
        InvalidInput, match=r"model: a backbone of your own takes no non-local blocks; set non"
    ):
        parse_recipe({"name": "x", "losses": {}, "model": {"backbone": "own_nets:Net"}})
    with pytest.raises(InvalidInput, match=r"backbone: expected resnet18, .*, or module:Class .*, got 'vgg'"):
        parse_recipe({"name": "x", "losses": {}, "model": {"backbone": "vgg"}})


def test_a_backbone_that_onnx_cannot_say_is_refused_with_its_line(own, tmp_path, capfd):
    own("own_nets.py", NETS)
    frozen = FrozenEncoder(Encoder(own_model("Branching"))).eval()
    with pytest.raises(
        BundleInvalid, match=r"no branch may depend on the values .*own_nets\.py:\d+ in forward"
    ):
        write_onnx(frozen, (48, 24), tmp_path / "encoder.onnx")
    assert capfd.readouterr().err == ""


# Data sets


def test_an_own_reader_makes_a_data_set(own, tmp_path):
    own("own_data.py", DATA)
    dataset = read_dataset("own_data:read", tmp_path, split=4)
    assert (dataset.layout, dataset.root) == ("own_data:read", tmp_path)
    assert len(dataset.train) == 12
    assert {image.person_id for image in dataset.test} == {"test-4"}
    assert dataset.train[0] == TreeImage(
        tmp_path / "a/visible/0.png", "a/visible/0.png", "a", "visible", Modality.VISIBLE
    )
    counts = describe(dataset)
    assert counts["layout"] == "own_data:read"
    sizes = {"queries": 2, "gallery": 2, "valid_queries": 2}
    assert counts["test"] == {"visible-to-infrared": sizes, "infrared-to-visible": sizes}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_list", "must give two lists of TreeImage, training and test; it gave list of length 4"),
        ("bare", "must give two lists .* it gave int"),
        ("images", "must give two lists .* it gave list of length 4 and tuple_iterator"),
        ("paths", "must give lists of TreeImage, one holds .*Path"),
        ("text", r"modality of 'a/visible/0\.png' must be a Modality, it is 'visible'"),
        ("number", r"person_id of 'a/visible/0\.png' must be a str, it is 7"),
        ("twice", r"gives two images the source 'a/visible/0\.png'"),
        (
            "one_sided",
            "training identity a of the own_data:one_sided tree has visible images and no infrared",
        ),
        ("shared", "identity a of the own_data:shared tree is in both the training and the test part"),
        ("needy", r"must name a function that takes the tree's top folder and the split: .*'fold'"),
        ("Modality", "must name a function that takes the tree's top folder and the split: it is a class"),
        ("absent", "there is no 'absent' in"),
    ],
)
def test_a_wrong_reader_says_what_is_wrong(own, tmp_path, name, message):
    own("own_data.py", DATA)
    with pytest.raises(InvalidInput, match=message):
        read_dataset(f"own_data:{name}", tmp_path)


def test_an_unknown_layout_and_an_absent_folder_are_named(own, tmp_path):
    own("own_data.py", DATA)
    with pytest.raises(
        InvalidInput, match="no layout 'sys'; there are sysu, regdb, llcm, or module:function"
    ):
        read_dataset("sys", tmp_path)
    with pytest.raises(
        DatasetInvalid, match=r"top folder of a own_data:read tree, there is no folder .*gone"
    ):
        read_dataset("own_data:read", Path("gone"))
