"""Fixtures that several folders of tests share, models of real architectures with next to no width among them.

torch and transformers are imported in the fixtures: the process that hands tests to the others needs neither.
"""

import copy
import ctypes
import gc
import io
import os
import zipfile

import chat_server as chat
import hub_server
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from core.models.embedded import ensure_base

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and of those that tests start
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait delay all others
os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # a heap per thread keeps what that thread has freed

PROCESSORS = {"default": "SSE41", "avx2": "AVX2"}  # what oneDNN calls those that ATen may be told to take
if os.environ.get("ATEN_CPU_CAPABILITY") in PROCESSORS:  # half of PyTorch on another processor than the rest fails
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", PROCESSORS[os.environ["ATEN_CPU_CAPABILITY"]])

# Of the suite, handed out first: one that starts last leaves the other process without work. The two that start large
# processes of their own go to one process, one after the other, before it holds models.
SLOWEST_FILES = (
    "loop/test_processes.py",
    "recognition/test_occlusion.py",
    "tests/test_transformers_serve.py",
    "tests/test_any_model.py",
    "recognition/test_explanation.py",
    "evaluation/test_side_by_side.py",
    "tabs/test_compare.py",
    "train/test_families.py",
    "models/test_embedded.py",
    "demo/test_page.py",
    "evaluation/test_bench.py",
    "embeddings/test_projection.py",
    "evaluation/test_capabilities.py",
    "recognition/test_recogniser.py",
)

CHAT = (
    "{% for message in messages %}{{ message['role'].capitalize() }}:{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def pytest_collection_modifyitems(items):
    """Put the slowest files first (`--no-loadscope-reorder` keeps that order)."""
    order = {name: place for place, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(f"{item.path.parent.name}/{item.path.name}", len(order)))


@pytest.fixture(scope="module", autouse=True)
def _freed_memory():
    """Give back what the tests of a file have freed: the allocator would keep it to the end of the run."""
    yield
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim:
        trim(0)


@pytest.fixture(scope="session", autouse=True)
def float32():
    """The text model in float32 on every processor: the results of a test, and the memory it takes, depend on none."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for module in ("core.models.devices", "train.loop.trainable"):
            patch.setattr(f"{module}.fast_dtype", lambda _: torch.float32)
        yield


@pytest.fixture(scope="session")
def mllm():
    """The embedded base in float32 with a random connector (seeded): real weights, nothing learned."""
    import torch

    from core.models.embedded import load_mllm
    from train.objectives.stage_model import initialise_connector

    model = load_mllm(torch.float32)
    initialise_connector(model, seed=0)
    return model


@pytest.fixture(scope="session")
def recogniser():
    """The committed checkpoint that users get by default."""
    from core.zoo.registry import DEFAULT, load

    return load(DEFAULT)


@pytest.fixture
def encode():
    """Bytes of a picture in a format."""

    def to_bytes(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
        if file_format == "HEIF":
            register_heif_opener()
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return to_bytes


def _text_config(vocabulary, tokenizer, model_type):
    return {
        "model_type": model_type,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="session")
def reduced_idefics2(tmp_path_factory):
    """A folder with Idefics2-8B's architecture and processor settings, two layers deep and 32 wide, random weights."""
    import torch
    from transformers import AutoTokenizer, Idefics2Config, Idefics2ForConditionalGeneration, Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "idefics2-reduced"
    tokenizer = AutoTokenizer.from_pretrained(ensure_base())
    # 378 to 980 pixels, aspect ratio kept, padded
    processor = Idefics2Processor(Idefics2ImageProcessorPil(), tokenizer, image_seq_len=64, chat_template=CHAT)
    config = Idefics2Config(
        text_config=_text_config(len(tokenizer), tokenizer, "mistral"),
        vision_config={**VISION, "patch_size": 14, "image_size": 980},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 64,
            "resampler_depth": 3,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        image_token_id=processor.image_token_id,
    )
    torch.manual_seed(0)
    Idefics2ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reduced_idefics3(tmp_path_factory):
    """A folder with SmolVLM's architecture, two layers deep and 32 wide, random weights."""
    import torch
    from transformers import AutoTokenizer, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "smolvlm-reduced"
    tokenizer = AutoTokenizer.from_pretrained(ensure_base())
    images = Idefics3ImageProcessorPil(size={"longest_edge": 128}, max_image_size={"longest_edge": 128})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=16, chat_template=CHAT)
    config = Idefics3Config(
        text_config=_text_config(len(tokenizer), tokenizer, "llama"),
        vision_config={**VISION, "patch_size": 16, "image_size": 128},
        scale_factor=2,
        image_token_id=processor.image_token_id,
    )
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reduced_tiny():
    """Open the embedded base under its name: its own vision encoder, at 64 pixels, and a text model 32 wide (random)."""
    import torch
    from transformers import Idefics2Config, Idefics2Processor

    from core.models.efficientnet import FEATURES, PATCH, TinyIdefics2ForConditionalGeneration
    from core.models.embedded import CHAT_TEMPLATE, EMBEDDED, LATENTS, _load_processor
    from core.models.installed_weights import TOWER
    from core.models.vlm import VisionLanguageModel

    processor = _load_processor(ensure_base())
    tokenizer, images = processor.tokenizer, processor.image_processor
    images.size = {"height": 64, "width": 64}
    config = Idefics2Config(
        text_config=_text_config(len(tokenizer), tokenizer, "llama"),
        vision_config={"hidden_size": FEATURES, "image_size": 64, "patch_size": PATCH, "num_hidden_layers": 0},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": LATENTS,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "num_key_value_heads": 4,
        },
        image_token_id=processor.image_token_id,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = TinyIdefics2ForConditionalGeneration(config).eval().requires_grad_(False)
    tower = torch.load(TOWER.locate(), weights_only=True)
    model.model.vision_model.network.load_state_dict({k: v for k, v in tower.items() if not k.startswith("_fc.")})

    def fresh():
        own = Idefics2Processor(copy.deepcopy(images), tokenizer, image_seq_len=LATENTS, chat_template=CHAT_TEMPLATE)
        return VisionLanguageModel(copy.deepcopy(model), own, EMBEDDED)

    return fresh


@pytest.fixture
def chat_server():
    """A small server that streams an answer, "Egyptian Mau" unless it is told another one."""
    with chat.running() as server:
        yield server


@pytest.fixture(scope="session")
def reduced_repository(tmp_path_factory):
    """The files of a repository with a reduced CLIP, some of which no model needs."""
    from reduced_models import save_reduced

    folder = save_reduced("clip", tmp_path_factory.mktemp("hub") / "clip")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    others = ("README.md", "pytorch_model.bin", "onnx/model.onnx", "modeling.py", "training_args.bin")
    return {**files, **dict.fromkeys(others, b"not needed")}


@pytest.fixture
def local_hub(reduced_repository, tmp_path, monkeypatch):
    """A hub on loopback that this process and its children take for the real one, with its own cache and table."""
    (tmp_path / "models.yaml").write_text(hub_server.TABLE)
    monkeypatch.setattr("core.zoo.registry.ASSETS", tmp_path)
    with hub_server.running(hub_server.REPOSITORY, dict(reduced_repository)) as server:
        server.take_over(monkeypatch, tmp_path / "cache")
        yield server


@pytest.fixture
def packed(tmp_path):
    """A ZIP of files, given as (name, bytes)."""

    def pack(files, name="photos.zip", method=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for path, data in files:
                archive.writestr(path, data)
        return tmp_path / name

    return pack
