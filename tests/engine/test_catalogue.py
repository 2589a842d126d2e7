"""The catalogue knows timm's architectures without timm, and refuses what is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm

from sat_engine import catalogue
from sat_engine.errors import ArchitectureError
from sat_engine.lineages import lineage


def test_holds_exactly_the_architectures_of_the_pinned_timm() -> None:
    assert set(timm.list_models()) <= set(catalogue.names())
    assert catalogue.names() == tuple(sorted(catalogue.names()))


@pytest.mark.parametrize(
    ("name", "family", "base"),
    [
        ("resnet50", "resnet", "CNN"),
        ("seresnet33ts", "resnet", "CNN"),
        ("convnextv2_tiny", "convnext", "CNN"),
        ("test_convnext", "convnext", "CNN"),
        ("botnet26t_256", "botnet", "CNN"),
        ("nf_resnet50", "nfnet", "CNN"),
        ("efficientnet_b0", "efficientnet", "NAS (CNN)"),
        ("tf_efficientnetv2_s", "efficientnet", "NAS (CNN)"),
        ("haloregnetz_b", "regnet", "NAS (CNN)"),
        ("nf_regnet_b1", "regnet", "NAS (CNN)"),
        ("mobilenetv2_100", "mobilenet", "CNN"),
        ("tf_mobilenetv3_large_100", "mobilenet", "NAS (CNN)"),
        ("swin_tiny_patch4_window7_224", "swin", "Transformer"),
        ("swin_s3_tiny_224", "swin", "NAS (TFM)"),
        ("vit_small_patch16_224", "vit", "Transformer"),
        ("vit_small_r26_s32_224", "vit", "Hybrid"),
        ("test_coatnet", "coatnet", "Hybrid"),
        ("poolformer_s12", "poolformer", "CNN"),
        ("mixer_s32_224", "mixer", "MLP-Mixer"),
        ("sequencer2d_s", "sequencer", None),
    ],
)
def test_family_and_base(name: str, family: str, base: str | None) -> None:
    entry = catalogue.find(name)
    assert (entry.family, entry.base) == (family, base)


def test_an_unwritten_lineage_is_named_after_its_file_and_has_no_base() -> None:
    assert lineage("brandnew_tiny", "brandnew") == ("brandnew", None)


def test_tells_what_the_default_weights_are_fed() -> None:
    entry = catalogue.find("convnext_tiny")
    settings = timm.get_pretrained_cfg("convnext_tiny")
    assert settings is not None
    assert (entry.input_side, entry.mean, entry.std) == (224, settings.mean, settings.std)
    assert entry.num_classes == 1000
    assert "fb_in1k" in entry.pretrained_tags
    assert entry.parameters == 28_589_128


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet50", "local-dir:/etc", "../resnet50", "resnet50/x"])
def test_places_are_refused_as_names(name: str) -> None:
    with pytest.raises(ArchitectureError, match="are not opened"):
        catalogue.find(name)


def test_a_typing_error_is_met_with_near_matches() -> None:
    assert "convnext_tiny" in catalogue.near_matches("convnxt_tiny")
    with pytest.raises(ArchitectureError, match=r"did you mean .*convnext_tiny"):
        catalogue.find("convnxt_tiny")
    with pytest.raises(ArchitectureError, match="'convnext_tiny' as architecture, and 'fb_in1k' as pretrained"):
        catalogue.find("convnext_tiny.fb_in1k")


@pytest.mark.parametrize("name", ["", "x" * 1_000_000, "\x00", "." * 1000])
def test_any_text_gets_an_answer_at_once(name: str) -> None:
    with pytest.raises(ArchitectureError) as refusal:
        catalogue.find(name)
    assert len(str(refusal.value)) < 400


def test_installed_architectures_are_listed_without_being_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "clinic_networks-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: clinic-networks\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[sat.architectures]\nclinic-net = no_such_module:Network\n")
    monkeypatch.syspath_prepend(tmp_path)
    catalogue._installed.cache_clear()
    try:
        entry = catalogue.find("clinic-net")
        assert (entry.installed, entry.base, entry.family) == (True, None, "clinic-net")
        assert "clinic-net" in catalogue.names()
    finally:
        catalogue._installed.cache_clear()


def test_loads_neither_torch_nor_timm() -> None:
    program = (
        "import sys; from sat_engine import catalogue; catalogue.find('resnet50'); "
        "sys.exit(bool({'torch', 'timm', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
