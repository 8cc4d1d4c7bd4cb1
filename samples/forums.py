"""Build the samples of Reddit, Discourse and Lemmy from the threads in ``forums/``."""

from pathlib import Path

from samples.build_discourse import HOST as DISCOURSE_HOST
from samples.build_discourse import discourse_files
from samples.build_lemmy import HOST as LEMMY_HOST
from samples.build_lemmy import lemmy_files
from samples.build_reddit import reddit_files
from samples.threads import read_sites

HERE = Path(__file__).parent


def build_forums(folder: Path = HERE) -> dict[Path, bytes]:
    """Return {path below the samples folder: content} of all files of these forums."""
    # With the other samples, because some threads are copies of theirs.
    sources = [*(folder / "content").glob("*.md"), *(folder / "forums").glob("*.md")]
    sites = read_sites(sorted(sources))
    files = {
        **reddit_files(sites["reddit"]),
        **discourse_files(sites[DISCOURSE_HOST]),
        **lemmy_files(sites[LEMMY_HOST]),
    }
    return {Path(name): content for name, content in files.items()}
