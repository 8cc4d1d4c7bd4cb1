"""No column of ours has a name that a trainer takes for one of its own."""

from schemas.fields import field_docs
from schemas.pair import FORMER_NAMES, Pair
from tests.trainer_columns import reserved

TAKEN_AS_MEANT = {"prompt", "chosen", "rejected"}


def test_the_table_names_every_trainer() -> None:
    assert set(reserved()) == {"TRL", "OpenRLHF", "LLaMA-Factory", "axolotl", "ms-swift"}


def test_trainers_take_no_column_that_we_did_not_mean() -> None:
    columns = set(field_docs(Pair))
    for trainer, names in reserved().items():
        assert columns & names <= TAKEN_AS_MEANT, trainer
        assert len(names) > 4, trainer


def test_the_table_would_have_told_of_the_former_names() -> None:
    taken = set().union(*reserved().values())
    assert {"margin", "rejected_messages"} == set(FORMER_NAMES) & taken
