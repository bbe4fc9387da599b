"""Every model of the zoo: those that the seed documents name, and relatives that users bring."""

from tests.zoo.bert import BERT
from tests.zoo.llms import LLMS
from tests.zoo.nomic import NOMIC
from tests.zoo.qwen3 import QWEN3

ZOO = (*QWEN3, *NOMIC, *BERT, *LLMS)
SEEDS = tuple(recipe for recipe in ZOO if recipe.seed_name is not None)
