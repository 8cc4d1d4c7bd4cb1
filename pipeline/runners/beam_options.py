"""Beam's options, with each view of them made once."""

from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, PipelineOptionsT


class BeamOptions(PipelineOptions):
    """PipelineOptions whose views are kept.

    While a graph is built Beam asks for a view of its options at every step and every comparison of
    types, and each makes an argparse parser and parses the command line again: a fifth of what
    building and starting our graph costs. Views of one object share their values, so that one view
    of a kind is as good as many.
    """

    def view_as(self, cls: type[PipelineOptionsT]) -> PipelineOptionsT:
        # Setting an attribute in the usual way would look for an option of that name.
        views: dict[type[PipelineOptions], Any] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: PipelineOptionsT = views[cls]
        return view

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the views: a shallow copy's would continue to share with the first.

        And Beam may take values out of the state, which views would keep.
        """
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_views"}
