"""Every model of the zoo: those that the seed documents name, and relatives that users bring."""

from tests.support.zoo.families.bert import BERT
from tests.support.zoo.families.llms import LLMS
from tests.support.zoo.families.nomic import NOMIC
from tests.support.zoo.families.qwen3 import QWEN3
from tests.support.zoo.families.relatives import RELATIVES
from tests.support.zoo.families.rerankers import RERANKERS

ZOO = (*QWEN3, *NOMIC, *BERT, *LLMS, *RELATIVES, *RERANKERS)
SEEDS = tuple(recipe for recipe in ZOO if recipe.seed_name is not None)
