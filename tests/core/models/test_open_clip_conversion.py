"""A CLIP of open_clip becomes a CLIPModel with the same features as open_clip's description of it gives."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from torch.nn import functional as F
from transformers import CLIPTokenizer

from core.cli import main
from core.errors import UserError
from core.models import open_question_model
from core.models.conversion import convert
from core.progress import run

WIDTH, HEADS, DEPTH, SIZE, PATCH, SHARED, LENGTH = 32, 4, 2, 28, 14, 24, 12
MODEL = {
    "embed_dim": SHARED,
    "custom_text": False,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": DEPTH,
        "width": WIDTH,
        "head_width": WIDTH // HEADS,
        "patch_size": PATCH,
        "ls_init_value": None,
    },
    "text_cfg": {"context_length": LENGTH, "vocab_size": 600, "width": WIDTH, "heads": HEADS, "layers": DEPTH},
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def random_weights():
    """Weights under open_clip's names, in its shapes, a third of them biases and norms that differ from 0 and 1."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator) * 0.3

    weights = {
        "visual.conv1.weight": random(WIDTH, 3, PATCH, PATCH),
        "visual.class_embedding": random(WIDTH),
        "visual.positional_embedding": random((SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": random(WIDTH, SHARED),
        "token_embedding.weight": random(600, WIDTH),
        "positional_embedding": random(LENGTH, WIDTH),
        "text_projection": random(WIDTH, SHARED),
        "logit_scale": torch.tensor(3.0),
    }
    norms = ["visual.ln_pre", "visual.ln_post", "ln_final"]
    for stack in ("visual.transformer", "transformer"):
        for layer in range(DEPTH):
            block = f"{stack}.resblocks.{layer}"
            weights[f"{block}.attn.in_proj_weight"] = random(3 * WIDTH, WIDTH)
            weights[f"{block}.attn.in_proj_bias"] = random(3 * WIDTH)
            for name, (rows, columns) in {
                "attn.out_proj": (WIDTH, WIDTH),
                "mlp.c_fc": (4 * WIDTH, WIDTH),
                "mlp.c_proj": (WIDTH, 4 * WIDTH),
            }.items():
                weights[f"{block}.{name}.weight"], weights[f"{block}.{name}.bias"] = random(rows, columns), random(rows)
            norms += [f"{block}.ln_1", f"{block}.ln_2"]
    for norm in norms:
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = 1 + random(WIDTH), random(WIDTH)
    return weights


def normed(states, weights, name):
    return F.layer_norm(states, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def transformer(states, weights, stack, act, mask=None):
    """Residual blocks over [L, N, W]: x + attention(ln_1(x)), then x + c_proj(act(c_fc(ln_2(x))))."""
    for layer in range(DEPTH):
        block = f"{stack}.resblocks.{layer}"
        part = {name.removeprefix(f"{block}."): value for name, value in weights.items() if name.startswith(block)}
        x = normed(states, weights, f"{block}.ln_1")
        attended, _ = F.multi_head_attention_forward(
            *(x, x, x, WIDTH, HEADS, part["attn.in_proj_weight"], part["attn.in_proj_bias"], None, None, False, 0.0),
            *(part["attn.out_proj.weight"], part["attn.out_proj.bias"]),
            training=False,
            need_weights=False,
            attn_mask=mask,
        )
        states = states + attended
        hidden = F.linear(normed(states, weights, f"{block}.ln_2"), part["mlp.c_fc.weight"], part["mlp.c_fc.bias"])
        states = states + F.linear(act(hidden), part["mlp.c_proj.weight"], part["mlp.c_proj.bias"])
    return states


def image_features(pixels, weights, act):
    """The class token after ln_post, times the projection."""
    patches = F.conv2d(pixels, weights["visual.conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    first = weights["visual.class_embedding"].expand(len(pixels), 1, WIDTH)
    states = torch.cat([first, patches], dim=1) + weights["visual.positional_embedding"]
    states = normed(states, weights, "visual.ln_pre").transpose(0, 1)
    states = transformer(states, weights, "visual.transformer", act).transpose(0, 1)
    return normed(states[:, 0], weights, "visual.ln_post") @ weights["visual.proj"]


def text_features(ids, weights, act):
    """The state of the token with the highest number, which ends a text, after ln_final, times the projection."""
    mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
    states = weights["token_embedding.weight"][ids] + weights["positional_embedding"][: ids.shape[1]]
    states = transformer(states.transpose(0, 1), weights, "transformer", act, mask).transpose(0, 1)
    states = normed(states, weights, "ln_final")
    return states[torch.arange(len(ids)), ids.argmax(dim=-1)] @ weights["text_projection"]


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder with the files of such a repository, its tokenizer CLIP's with bytes for words."""
    folder = tmp_path_factory.mktemp("open_clip")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    save_file(random_weights(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"never read")
    settings = {"model_cfg": MODEL, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def source(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "source")


def change(source, **fields):
    path = source / "open_clip_config.json"
    settings = json.loads(path.read_text())
    for place, value in fields.items():
        part = settings
        *parts, key = place.split("__")
        for name in parts:
            part = part[name]
        part[key] = value
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize(("quick", "act"), [(False, F.gelu), (True, quick_gelu)])
def test_photos_and_texts_get_the_features_that_the_description_gives(quick, act, source, tmp_path, two_photos):
    change(source, model_cfg__quick_gelu=quick)
    run(convert(source, tmp_path / "out"))
    model = open_question_model(str(tmp_path / "out"))
    weights = random_weights()

    pixels = model._images(images=two_photos, return_tensors="pt")["pixel_values"]
    ids = model._tokenizer(["crow", "a raven"], padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
    assert ids[0].tolist() == [512, *ids[0, 1:5].tolist(), 513, *[513] * (LENGTH - 6)]
    of_open_clip = torch.where((ids == 513).cumsum(dim=1) > 1, 0, ids)  # it pads with zeros
    with torch.no_grad():
        photos = model._model.get_image_features(pixel_values=pixels).pooler_output
        texts = model._model.get_text_features(input_ids=ids).pooler_output
    torch.testing.assert_close(photos, image_features(pixels, weights, act), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(texts, text_features(of_open_clip, weights, act), rtol=1e-5, atol=1e-5)
    assert (photos[0] - photos[1]).abs().max() > 1e-3
    assert (texts[0] - texts[1]).abs().max() > 1e-3

    similarity = F.normalize(photos[:1], dim=-1) @ F.normalize(model_texts(model, weights, act), dim=-1).T
    scores = model.name_scores(two_photos[0], "", ["a", "b"])
    torch.testing.assert_close(scores, (similarity * weights["logit_scale"].exp())[0], rtol=1e-4, atol=1e-4)


def model_texts(model, weights, act):
    """The features of two captions, as the description gives them."""
    captions = [f"an image of a {name}" for name in "ab"]
    ids = model._tokenizer(captions, truncation=True, max_length=LENGTH, return_tensors="pt").input_ids
    return text_features(ids, weights, act)


def test_photos_are_prepared_as_the_repository_says(source, tmp_path):
    change(source, preprocess_cfg__interpolation="bilinear")
    run(convert(source, tmp_path / "out"))
    settings = json.loads((tmp_path / "out/preprocessor_config.json").read_text())
    assert (settings["image_mean"], settings["image_std"], settings["resample"]) == (MEAN, STD, 2)
    assert settings["size"] == {"shortest_edge": SIZE}
    assert settings["crop_size"] == {"height": SIZE, "width": SIZE}


def test_the_command_writes_a_folder_of_transformers_alone(source, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= names
    assert not any(name.startswith("open_clip") for name in names)


def test_pickled_weights_are_read_where_there_are_no_others(source, tmp_path):
    (source / "open_clip_model.safetensors").unlink()
    torch.save(random_weights(), source / "open_clip_pytorch_model.bin")
    run(convert(source, tmp_path / "out"))
    assert len(load_file(tmp_path / "out/model.safetensors")) == 8 + 6 + 2 * DEPTH * 16


def _without(name):
    def remove(source):
        weights = random_weights()
        del weights[name]
        save_file(weights, source / "open_clip_model.safetensors")

    return remove


def _linked(source):
    (source / "open_clip_model.safetensors").rename(source.parent / "elsewhere")
    (source / "open_clip_model.safetensors").symlink_to(source.parent / "elsewhere")


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda s: change(s, model_cfg__vision_cfg__timm_model_name="vit"), r"another network .* \(timm_model_name\)"),
        (lambda s: change(s, model_cfg__text_cfg__hf_model_name="bert"), r"another network .* \(hf_model_name\)"),
        (lambda s: change(s, model_cfg__custom_text=True), r"another network .* \(custom_text\)"),
        (lambda s: change(s, model_cfg__vision_cfg__layers=[3, 4, 6, 3]), r"another network .* \(layers\)"),
        (lambda s: change(s, model_cfg__text_cfg__layers=10**9), r"another network .* \(layers\)"),
        (lambda s: change(s, model_cfg__vision_cfg__width="wide"), "does not fit a CLIPModel"),
        (lambda s: change(s, model_cfg=[]), "describes no model"),
        (lambda s: change(s, preprocess_cfg__resize_mode="squash"), "prepares photos in another way"),
        (lambda s: change(s, model_cfg__embed_dim=16), "do not fit its configuration"),
        (_without("visual.transformer.resblocks.1.attn.in_proj_bias"), "do not fit .*layers.1.self_attn.k_proj.bias"),
        (lambda s: (s / "open_clip_config.json").write_text("{"), "open_clip_config.json is damaged"),
        (lambda s: (s / "open_clip_model.safetensors").write_bytes(b"no"), "safetensors is damaged"),
        (_linked, "names a file outside of it"),
        (lambda s: [path.unlink() for path in s.glob("*") if "open" not in path.name], "has no tokenizer"),
        (lambda s: (s / "tokenizer.json").write_text("{"), "The tokenizer in .* is damaged"),
    ],
)
def test_what_is_no_plain_clip_or_damaged_is_one_sentence_and_leaves_nothing(break_it, sentence, source, tmp_path):
    break_it(source)
    with pytest.raises(UserError, match=sentence) as raised:
        run(convert(source, tmp_path / "out"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
