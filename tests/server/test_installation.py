"""What is installed must fit together."""

from pathlib import Path

import pytest

from index.errors import MissingExtra
from server.errors import InstallationInvalid
from server.installation import check_installation, check_one_place, check_runtimes


def test_this_installation_is_sound() -> None:
    check_installation()


@pytest.mark.parametrize("installed", [{"onnxruntime", "faiss-cpu"}, {"onnxruntime-gpu", "faiss-gpu-cu12"}])
def test_one_build_of_each_is_right(installed: set[str]) -> None:
    check_runtimes(installed)


def test_none_and_both_are_named() -> None:
    with pytest.raises(MissingExtra, match=r"FAISS is not installed.*\.\[cpu\]"):
        check_runtimes({"onnxruntime"})
    with pytest.raises(InstallationInvalid, match="found onnxruntime and onnxruntime-gpu"):
        check_runtimes({"onnxruntime", "onnxruntime-gpu", "faiss-cpu"})


def test_a_strangers_package_is_named() -> None:
    ours = Path("site-packages")
    check_one_place({"server": ours, "index": ours})
    with pytest.raises(InstallationInvalid, match="index in elsewhere"):
        check_one_place({"server": ours, "index": Path("elsewhere")})
