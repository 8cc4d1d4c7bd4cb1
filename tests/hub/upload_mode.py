"""Which files the Hub keeps in git and which in LFS."""

import fnmatch

# The kinds of files that a new dataset repository sends to LFS whatever their size.
LARGE_KINDS = (
    *("7z", "arrow", "avro", "bin", "bz2", "ckpt", "db", "duckdb", "gz", "h5", "lz4", "model"),
    *("npy", "npz", "onnx", "ot", "parquet", "pb", "pickle", "pkl", "pt", "pth", "rar"),
    *("safetensors", "tar", "tflite", "tgz", "wasm", "xz", "zip", "zst"),
    *("flac", "mp3", "ogg", "wav", "jpeg", "jpg", "png", "webp", "mp4", "webm"),
)
GIT_ATTRIBUTES = "".join(
    f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in LARGE_KINDS
).encode()

# Above this a text file goes to LFS, too (bytes).
REGULAR_LIMIT = 10 << 20


def upload_mode(attributes: bytes, path: str, size: int, sample: bytes) -> str:
    """``lfs`` or ``regular`` for a file, by .gitattributes, its size and its first bytes."""
    name = path.rpartition("/")[2]
    for line in attributes.decode(errors="replace").splitlines():
        pattern, *rules = line.split() or [""]
        subject = path if "/" in pattern else name
        if "filter=lfs" in rules and fnmatch.fnmatchcase(subject, pattern):
            return "lfs"
    return "lfs" if size > REGULAR_LIMIT or b"\0" in sample else "regular"
