"""Sample texts for comparing models: many lengths, scripts and kinds. None contains a control token."""

_BOILING = "Water boils at 100 degrees Celsius at sea level, and at a lower temperature on a mountain. "
_LEASE = (
    "The tenant shall keep the premises in good repair, shall not sublet them without the written consent of the "
    "landlord, and shall return all keys on the last day of the term. "
)

SAMPLE_TEXTS = (
    "What is the capital of France?",
    "Paris is the capital and largest city of France, home to the Eiffel Tower and the Louvre Museum.",
    "a",
    ".",
    "42",
    "Hello world",
    "The refund was issued on 14 March 2025 and should reach your account within 3 to 5 working days.",
    "How do I get my money back?",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n",
    "SELECT name, COUNT(*) FROM orders WHERE placed_at > '2024-01-01' GROUP BY name ORDER BY 2 DESC;",
    "https://example.org/docs/v2/install?os=linux&arch=arm64#step-3",
    '{"id": 1297, "status": "shipped", "items": ["blue mug", "tea towel"], "total": 23.5}',
    "ERROR 2024-11-02T08:14:55Z worker-3: connection reset by peer after 30000 ms (attempt 2 of 5)",
    "日本語のテキストです。東京は日本の首都です。",
    "机器学习是人工智能的一个分支，它使计算机能够从数据中学习。",
    "인공지능은 사람의 학습 능력을 컴퓨터로 구현하는 기술이다.",
    "مرحبا بالعالم، هذا نص قصير باللغة العربية.",
    "Москва является столицей России и крупнейшим городом страны.",
    "नमस्ते दुनिया, यह हिंदी में एक वाक्य है।",
    "Der Zug nach München fährt wegen Bauarbeiten heute ausnahmsweise von Gleis 7 ab.",
    "Où se trouve la gare la plus proche, s'il vous plaît ? naïve café, cœur, garçon",
    "🙂👍🏽 so good!!! 10/10, would buy again 🎉",
    "WARRANTY VOID IF SEAL IS BROKEN",
    "  two  spaces,\ttabs\nand\n\nnew lines  ",
    "x = (-b ± √(b² − 4ac)) / 2a",
    "Mix 200 g flour, 100 g sugar, 2 eggs and a pinch of salt; bake for 35 minutes at 180 °C.",
    "The mitochondrion is the powerhouse of the cell.",
    "The mitochondria are the powerhouses of a cell.",
    _BOILING * 12,
    _LEASE * 10,
)

SAMPLE_QUERIES = ("What is the capital of France?", "How do I get my money back?", "機械学習とは何ですか")
SAMPLE_DOCUMENTS = (
    "Paris is the capital and largest city of France, home to the Eiffel Tower and the Louvre Museum.",
    "France is a country in Western Europe known for its wine, cuisine, and rich history.",
    "The refund was issued on 14 March 2025 and should reach your account within 3 to 5 working days.",
    "Purchases may be returned within 30 days for the full price.",
    "機械学習は、コンピューターがデータから学ぶ技術です。",
    "The weather in Europe varies significantly between northern and southern regions.",
    "a",
    _BOILING * 4,
)
