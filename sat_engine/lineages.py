"""Family and base of timm's architectures: the first rule that fits a name or its model file.

The bases follow the paper's feature table wherever it has a network of the family. Beyond it: *NAS* where search
found the whole network or its block widths; *Hybrid* where blocks mix global attention with convolutions beyond the
patch embedding; a CNN with a few attention blocks inside (botnet, halonet) stays a CNN, as in the paper. PiT is Hybrid
(the table has pit_b as Hybrid, pit_s as Transformer). Recurrent and state-space networks have no base.
"""

import re

CNN, TRANSFORMER, MIXER, HYBRID = "CNN", "Transformer", "MLP-Mixer", "Hybrid"
NAS_CNN, NAS_TRANSFORMER = "NAS (CNN)", "NAS (TFM)"

# where one of timm's model files holds several lineages: pattern of the name, family, base
_BY_NAME: tuple[tuple[str, str, str], ...] = (
    ("haloregnet|nf_regnet|regnet", "regnet", NAS_CNN),
    ("(test_)?efficientnet|(tf_|gc_)?efficientnet", "efficientnet", NAS_CNN),
    ("(tf_)?mixnet", "mixnet", NAS_CNN),
    ("mnasnet|semnasnet|spnasnet", "mnasnet", NAS_CNN),
    ("fbnet", "fbnet", NAS_CNN),
    ("tinynet", "tinynet", NAS_CNN),
    ("mobilenetv[12]", "mobilenet", CNN),
    ("mobilenet_edgetpu", "mobilenet", NAS_CNN),
    ("mobilenetv4_hybrid|mobilenetv5", "mobilenet", HYBRID),
    ("(tf_)?mobilenetv[34]", "mobilenet", NAS_CNN),
    ("lcnet", "lcnet", CNN),
    ("gernet", "gernet", NAS_CNN),
    ("mobileone", "mobileone", CNN),
    ("repvgg", "repvgg", CNN),
    ("(eca_)?lam|lambda", "lambdanet", CNN),
    (".*halo", "halonet", CNN),
    (".*botne", "botnet", CNN),
    ("test_byobnet", "byobnet", CNN),
    ("swin_s3", "swin", NAS_TRANSFORMER),
    ("(test_)?maxvit", "maxvit", HYBRID),
    ("maxxvit", "maxxvit", HYBRID),
    ("(test_)?coatne", "coatnet", HYBRID),
    ("poolformer", "poolformer", CNN),
    ("convformer", "convformer", CNN),
    ("caformer", "caformer", HYBRID),
    ("gmlp", "gmlp", MIXER),
    ("resmlp", "resmlp", MIXER),
    ("gmixer|mixer", "mixer", MIXER),
)
# otherwise by timm's model file, whose name is the family ...
_FILES_BY_BASE: dict[str, str] = {
    CNN: """
        convmixer convnext cspnet cspnext densenet dla dpn fasternet focalnet ghostnet hgnet hrnet inception_next
        inception_resnet_v2 inception_v3 inception_v4 mambaout nfnet rdnet repghost repvit res2net resnest resnet
        selecsls starnet tresnet vgg vovnet xception
    """,
    NAS_CNN: "hardcorenas nasnet pnasnet rexnet",
    TRANSFORMER: "beit cait convit crossvit deepseek_vit deit eva gemma4_vit hiera mvitv2 nest qwen3_vit tnt volo",
    HYBRID: """
        coat cpubone csatv2 davit edgenext efficientformer efficientvit_mit efficientvit_msra fastvit gcvit iformer
        levit lowformer mobilevit nextvit pit shvit swiftformer tiny_vit twins visformer vitamin xcit
    """,
}
# ... or of another family
_FILES_OF_FAMILY: dict[str, tuple[str, str]] = {
    "byobnet": ("resnet", CNN),
    "resnetv2": ("resnet", CNN),
    "senet": ("resnet", CNN),
    "sknet": ("resnet", CNN),
    "lcnetv2": ("lcnet", CNN),
    "xception_aligned": ("xception", CNN),
    "hieradet_sam2": ("hiera", TRANSFORMER),
    "naflexvit": ("vit", TRANSFORMER),
    "vision_transformer": ("vit", TRANSFORMER),
    "vision_transformer_relpos": ("vit", TRANSFORMER),
    "vision_transformer_sam": ("vit", TRANSFORMER),
    "vision_transformer_hybrid": ("vit", HYBRID),
    "swin_transformer": ("swin", TRANSFORMER),
    "swin_transformer_v2": ("swin", TRANSFORMER),
    "swin_transformer_v2_cr": ("swin", TRANSFORMER),
    "efficientformer_v2": ("efficientformer", HYBRID),
    "pvt_v2": ("pvt", HYBRID),
}


def lineage(name: str, model_file: str) -> tuple[str, str | None]:
    """Return the architecture's family and base; the file's own name and None where no rule is written."""
    for pattern, family, base in _BY_NAME:
        if re.match(pattern, name):
            return family, base
    if model_file in _FILES_OF_FAMILY:
        return _FILES_OF_FAMILY[model_file]
    bases = (base for base, files in _FILES_BY_BASE.items() if model_file in files.split())
    return model_file, next(bases, None)
