"""Every model of the zoo: those that the seed documents name, and relatives that users bring."""

from tests.zoo.bert import BERT
from tests.zoo.llms import LLMS
from tests.zoo.nomic import NOMIC
from tests.zoo.qwen3 import QWEN3
from tests.zoo.relatives import RELATIVES
from tests.zoo.rerankers import RERANKERS

ZOO = (*QWEN3, *NOMIC, *BERT, *LLMS, *RELATIVES, *RERANKERS)
SEEDS = tuple(recipe for recipe in ZOO if recipe.seed_name is not None)
