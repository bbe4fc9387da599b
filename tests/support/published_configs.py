"""What the config.json of published models of the supported families says, by family; sizes are reduced.

Each row names a model and what its file has besides the entries of its family. Facts alone, from the public
repositories and from transformers' documentation of its configurations.
"""

from typing import Any

Entries = dict[str, Any]

_OLD = {"gradient_checkpointing": False, "position_embedding_type": "absolute", "use_cache": True}
_TRAINED = {"_name_or_path": "base", "torch_dtype": "float32", "transformers_version": "4.41.2"}
_NAMED = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
_GENERATION = {
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "num_beams": 1,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "num_return_sequences": 1,
    "finetuning_task": None,
    "task_specific_params": None,
    "prefix": None,
}
_GOOGLE = {
    "directionality": "bidi",
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
}
_SCORE = _NAMED | {"architectures": ["BertForSequenceClassification"]}
_SIGMOID = {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}
_ALBERT2 = {"net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0, "down_scale_factor": 1}
_DISTIL = {"qa_dropout": 0.1, "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True}
_WINDOW = {"sliding_window": 32768, "max_window_layers": 2, "use_sliding_window": False}
_QWEN25 = {**_WINDOW, "use_mrope": False}
_LLAMA3 = {
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "rope_type": "llama3",
        "original_max_position_embeddings": 8192,
    }
}
_UNSLOTH = {"unsloth_fixed": True, "unsloth_version": "2026.5.2"}

_ENCODER = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 96,
    "pad_token_id": 0,
    "type_vocab_size": 2,
}
_DECODER = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 96,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ROBERTA = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "layer_norm_eps": 1e-05, "type_vocab_size": 1}

FAMILIES: dict[str, Entries] = {
    "bert": _ENCODER | {"model_type": "bert", "architectures": ["BertModel"]},
    "roberta": _ENCODER | _ROBERTA | {"model_type": "roberta", "architectures": ["RobertaModel"]},
    "xlm-roberta": _ENCODER | _ROBERTA | {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]},
    "camembert": _ENCODER | _ROBERTA | {"model_type": "camembert", "architectures": ["CamembertModel"]},
    "mpnet": {key: value for key, value in (_ENCODER | _ROBERTA).items() if key != "type_vocab_size"}
    | {"model_type": "mpnet", "architectures": ["MPNetModel"], "relative_attention_num_buckets": 32},
    "electra": _ENCODER
    | {"model_type": "electra", "architectures": ["ElectraModel"], "embedding_size": 16, "summary_activation": "gelu"}
    | {"summary_last_dropout": 0.1, "summary_type": "first", "summary_use_proj": True},
    "albert": _ENCODER
    | {"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "classifier_dropout_prob": 0.1}
    | {"embedding_size": 16, "inner_group_num": 1, "num_hidden_groups": 1, "bos_token_id": 2, "eos_token_id": 3},
    "distilbert": {
        "model_type": "distilbert",
        "architectures": ["DistilBertModel"],
        "activation": "gelu",
        "dim": 32,
        "attention_dropout": 0.1,
        "dropout": 0.1,
        "hidden_dim": 48,
        "initializer_range": 0.02,
        "n_heads": 4,
        "max_position_embeddings": 64,
        "n_layers": 2,
        "pad_token_id": 0,
        "vocab_size": 96,
    },
    "deberta-v2": _ENCODER
    | {
        "model_type": "deberta-v2",
        "architectures": ["DebertaV2Model"],
        "type_vocab_size": 0,
        "norm_rel_ebd": "layer_norm",
    }
    | {"max_relative_positions": -1, "pos_att_type": "p2c|c2p", "position_biased_input": False, "position_buckets": 16}
    | {"relative_attention": True, "share_att_key": True},
    "modernbert": {
        "model_type": "modernbert",
        "architectures": ["ModernBertModel"],
        "attention_bias": False,
        "vocab_size": 96,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": "mean",
        "cls_token_id": 1,
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "eos_token_id": 2,
        "global_rope_theta": 160000.0,
        "global_attn_every_n_layers": 3,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "hidden_size": 32,
        "initializer_cutoff_factor": 2.0,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-05,
        "local_attention": 128,
        "local_rope_theta": 10000.0,
        "mlp_bias": False,
        "max_position_embeddings": 512,
        "mlp_dropout": 0.0,
        "norm_bias": False,
        "norm_eps": 1e-05,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "reference_compile": None,
        "repad_logits_with_grad": False,
        "sep_token_id": 2,
        "sparse_prediction": False,
        "sparse_pred_ignore_index": -100,
    },
    "qwen3": _DECODER
    | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "head_dim": 16}
    | {"max_window_layers": 2, "rope_scaling": None, "sliding_window": None, "use_sliding_window": False},
    "qwen2": _DECODER | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "mistral": _DECODER | {"model_type": "mistral", "architectures": ["MistralModel"], "rope_theta": 10000.0},
    "llama": _DECODER
    | {"model_type": "llama", "architectures": ["LlamaModel"], "attention_bias": False, "pretraining_tp": 1}
    | {"rope_scaling": None},
    "gemma2": _DECODER
    | {"model_type": "gemma2", "architectures": ["Gemma2Model"], "attention_bias": False, "head_dim": 16}
    | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "hidden_activation": "gelu_pytorch_tanh"}
    | {"query_pre_attn_scalar": 16, "sliding_window": 4096, "hidden_act": "gelu_pytorch_tanh", "rope_theta": 10000.0},
    "gemma3_text": _DECODER
    | {"model_type": "gemma3_text", "architectures": ["Gemma3TextModel"], "attention_bias": False, "head_dim": 16}
    | {"attn_logit_softcapping": None, "final_logit_softcapping": None, "hidden_activation": "gelu_pytorch_tanh"}
    | {"query_pre_attn_scalar": 16, "rope_local_base_freq": 10000.0, "sliding_window": 512}
    | {"layer_types": ["sliding_attention", "full_attention"], "rope_scaling": None, "_sliding_window_pattern": 6},
}

ROWS: tuple[tuple[str, str, Entries], ...] = (
    ("google-bert/bert-base-uncased", "bert", {"architectures": ["BertForMaskedLM"], **_OLD}),
    ("google-bert/bert-base-chinese", "bert", {"architectures": ["BertForMaskedLM"], **_GOOGLE}),
    ("google-bert/bert-base-multilingual-cased", "bert", {"architectures": ["BertForMaskedLM"], **_GOOGLE}),
    ("google-bert/bert-large-cased", "bert", {"architectures": ["BertForMaskedLM"], **_GOOGLE, **_OLD}),
    ("BAAI/bge-large-zh-v1.5", "bert", {**_GOOGLE, **_OLD, **_TRAINED, **_NAMED, "output_past": True}),
    ("BAAI/bge-base-zh-v1.5", "bert", {**_GOOGLE, **_OLD, **_TRAINED, "classifier_dropout": None}),
    ("BAAI/bge-small-zh-v1.5", "bert", {**_OLD, **_TRAINED, **_NAMED, "classifier_dropout": None}),
    ("BAAI/bge-small-en-v1.5", "bert", {**_OLD, **_TRAINED, **_NAMED, "classifier_dropout": None}),
    ("BAAI/llm-embedder", "bert", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("sentence-transformers/LaBSE", "bert", {**_GOOGLE, **_TRAINED}),
    ("sentence-transformers/all-MiniLM-L6-v2", "bert", {**_OLD, **_TRAINED}),
    ("sentence-transformers/all-MiniLM-L12-v2", "bert", {**_OLD, **_TRAINED}),
    ("sentence-transformers/multi-qa-MiniLM-L6-cos-v1", "bert", {**_OLD, **_TRAINED}),
    ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", "bert", {**_OLD, **_TRAINED}),
    ("sentence-transformers/msmarco-bert-base-dot-v5", "bert", {**_OLD, **_TRAINED}),
    ("sentence-transformers/bert-base-nli-mean-tokens", "bert", {"output_past": True, **_OLD, **_GENERATION}),
    ("shibing624/text2vec-base-chinese", "bert", {**_GOOGLE, **_OLD, **_TRAINED, "classifier_dropout": None}),
    ("moka-ai/m3e-base", "bert", {**_GOOGLE, **_OLD, "output_past": True, "torch_dtype": "float32"}),
    ("thenlper/gte-base", "bert", {**_OLD, "torch_dtype": "float16", "classifier_dropout": None}),
    ("thenlper/gte-large-zh", "bert", {**_GOOGLE, **_OLD, "torch_dtype": "float16"}),
    ("intfloat/e5-small-v2", "bert", {**_OLD, **_TRAINED, "tokenizer_class": "BertTokenizer"}),
    ("intfloat/e5-base-v2", "bert", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("intfloat/e5-large-v2", "bert", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("mixedbread-ai/mxbai-embed-large-v1", "bert", {**_OLD, "torch_dtype": "float16", "use_cache": False}),
    ("WhereIsAI/UAE-Large-V1", "bert", {**_OLD, **_TRAINED, "use_cache": False}),
    ("avsolatorio/GIST-small-Embedding-v0", "bert", {**_OLD, **_TRAINED, **_NAMED, "use_cache": False}),
    ("Snowflake/snowflake-arctic-embed-xs", "bert", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("Snowflake/snowflake-arctic-embed-l", "bert", {**_OLD, "torch_dtype": "float32", "classifier_dropout": None}),
    ("TaylorAI/gte-tiny", "bert", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    (
        "cointegrated/rubert-tiny2",
        "bert",
        {"architectures": ["BertForPreTraining"], "emb_size": 312, **_OLD, **_TRAINED},
    ),
    ("cointegrated/LaBSE-en-ru", "bert", {"architectures": ["BertForPreTraining"], **_GOOGLE, **_OLD}),
    ("ai-forever/sbert_large_nlu_ru", "bert", {**_GOOGLE, **_TRAINED}),
    ("huawei-noah/TinyBERT_General_4L_312D", "bert", {"cell": {}, "emb_size": 312, "pre_trained": "", "structure": []}),
    ("pritamdeka/S-PubMedBert-MS-MARCO", "bert", {**_OLD, **_TRAINED}),
    ("allenai/scibert_scivocab_uncased", "bert", {}),
    ("deepset/gbert-base", "bert", {"architectures": ["BertForMaskedLM"], "language": "german", "name": "Bert"}),
    (
        "princeton-nlp/sup-simcse-bert-base-uncased",
        "bert",
        {**_OLD, **_GENERATION, **_TRAINED, "is_decoder": False, "pruned_heads": {}},
    ),
    ("BAAI/bge-base-en", "bert", {**_OLD, "tie_word_embeddings": True, "use_bfloat16": False}),
    ("cross-encoder/ms-marco-MiniLM-L6-v2", "bert", {**_SCORE, **_OLD, **_SIGMOID, "transformers_version": "4.4.0"}),
    ("cross-encoder/ms-marco-TinyBERT-L2-v2", "bert", {**_SCORE, **_OLD, **_TRAINED, **_SIGMOID}),
    (
        "cross-encoder/ms-marco-MiniLM-L12-v2",
        "bert",
        {**_SCORE, **_OLD, "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
    ),
    ("amberoad/bert-multilingual-passage-reranking", "bert", {**_GOOGLE, **_SCORE, **_GENERATION, "num_labels": 1}),
    ("FacebookAI/roberta-base", "roberta", {"architectures": ["RobertaForMaskedLM"]}),
    ("sentence-transformers/all-distilroberta-v1", "roberta", {**_OLD, **_TRAINED}),
    ("sentence-transformers/all-roberta-large-v1", "roberta", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("sentence-transformers/stsb-roberta-base", "roberta", {**_GENERATION, "output_past": True}),
    ("ibm-granite/granite-embedding-125m-english", "roberta", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("princeton-nlp/sup-simcse-roberta-base", "roberta", {**_OLD}),
    ("microsoft/codebert-base", "roberta", {"output_past": True}),
    ("microsoft/unixcoder-base", "roberta", {"output_past": True}),
    ("cross-encoder/stsb-roberta-base", "roberta", {"architectures": ["RobertaForSequenceClassification"], **_NAMED}),
    (
        "cross-encoder/quora-distilroberta-base",
        "roberta",
        {"architectures": ["RobertaForSequenceClassification"], **_NAMED},
    ),
    (
        "FacebookAI/xlm-roberta-base",
        "xlm-roberta",
        {"architectures": ["XLMRobertaForMaskedLM"], "output_past": True, **_OLD},
    ),
    ("BAAI/bge-m3", "xlm-roberta", {**_OLD, **_TRAINED, "classifier_dropout": None, "output_past": True}),
    ("intfloat/multilingual-e5-base", "xlm-roberta", {**_OLD, **_TRAINED, "output_past": True}),
    ("intfloat/multilingual-e5-large-instruct", "xlm-roberta", {**_OLD, "torch_dtype": "float16", "output_past": True}),
    ("intfloat/multilingual-e5-small", "bert", {**_OLD, **_TRAINED, "tokenizer_class": "XLMRobertaTokenizer"}),
    ("Snowflake/snowflake-arctic-embed-l-v2.0", "xlm-roberta", {**_OLD, **_TRAINED, "classifier_dropout": None}),
    ("ibm-granite/granite-embedding-278m-multilingual", "xlm-roberta", {**_OLD, "torch_dtype": "bfloat16"}),
    ("sentence-transformers/paraphrase-xlm-r-multilingual-v1", "xlm-roberta", {**_GENERATION, "output_past": True}),
    ("symanto/sn-xlm-roberta-base-snli-mnli-anli-xnli", "xlm-roberta", {"output_past": True, **_OLD, **_TRAINED}),
    (
        "BAAI/bge-reranker-v2-m3",
        "xlm-roberta",
        {"architectures": ["XLMRobertaForSequenceClassification"], **_NAMED, **_OLD, **_TRAINED, "output_past": True},
    ),
    (
        "BAAI/bge-reranker-base",
        "xlm-roberta",
        {"architectures": ["XLMRobertaForSequenceClassification"], **_NAMED, **_OLD, "classifier_dropout": None},
    ),
    (
        "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1",
        "xlm-roberta",
        {"architectures": ["XLMRobertaForSequenceClassification"], **_NAMED, **_OLD, **_SIGMOID},
    ),
    ("dangvantuan/sentence-camembert-base", "camembert", {"output_past": True, **_OLD, **_TRAINED}),
    ("almanach/camembert-base", "camembert", {"architectures": ["CamembertForMaskedLM"], "output_past": True}),
    (
        "antoinelouis/crossencoder-camembert-base-mmarcoFR",
        "camembert",
        {"architectures": ["CamembertForSequenceClassification"], **_NAMED, **_OLD, **_TRAINED},
    ),
    ("sentence-transformers/all-mpnet-base-v2", "mpnet", {**_TRAINED}),
    (
        "sentence-transformers/paraphrase-mpnet-base-v2",
        "mpnet",
        {"_name_or_path": "old", "transformers_version": "4.7.0"},
    ),
    ("sentence-transformers/multi-qa-mpnet-base-dot-v1", "mpnet", {**_TRAINED}),
    ("microsoft/mpnet-base", "mpnet", {"architectures": ["MPNetForMaskedLM"], "max_position_embeddings": 64}),
    ("google/electra-small-discriminator", "electra", {"architectures": ["ElectraForPreTraining"]}),
    ("beomi/KcELECTRA-base", "electra", {**_OLD, "classifier_dropout": None, "tokenizer_class": "BertTokenizer"}),
    (
        "cross-encoder/ms-marco-electra-base",
        "electra",
        {"architectures": ["ElectraForSequenceClassification"], **_NAMED, **_OLD, **_SIGMOID},
    ),
    ("albert/albert-base-v2", "albert", {**_ALBERT2, "hidden_act": "gelu_new"}),
    ("albert/albert-large-v2", "albert", {**_ALBERT2, "hidden_act": "gelu_new"}),
    ("albert/albert-base-v1", "albert", {"position_embedding_type": "absolute"}),
    ("voidful/albert_chinese_base", "albert", {**_ALBERT2, "layers_to_keep": [], "hidden_act": "relu"}),
    (
        "sentence-transformers/paraphrase-albert-small-v2",
        "albert",
        {**_ALBERT2, **_OLD, "architectures": ["AlbertModel"]},
    ),
    ("distilbert/distilbert-base-uncased", "distilbert", {"architectures": ["DistilBertForMaskedLM"], **_DISTIL}),
    (
        "distilbert/distilbert-base-multilingual-cased",
        "distilbert",
        {**_DISTIL, "output_past": True, "model_max_length": 64},
    ),
    ("sentence-transformers/msmarco-distilbert-base-tas-b", "distilbert", {**_DISTIL, **_TRAINED}),
    ("sentence-transformers/multi-qa-distilbert-cos-v1", "distilbert", {**_DISTIL, **_TRAINED}),
    ("sentence-transformers/distiluse-base-multilingual-cased-v2", "distilbert", {**_DISTIL, "output_past": True}),
    (
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        "distilbert",
        {**_DISTIL, **_NAMED, **_GENERATION, "pruned_heads": {}},
    ),
    (
        "microsoft/deberta-v3-base",
        "deberta-v2",
        {"pooler_dropout": 0, "pooler_hidden_act": "gelu", "pooler_hidden_size": 32},
    ),
    (
        "microsoft/deberta-v2-xxlarge",
        "deberta-v2",
        {"attention_head_size": 8, "conv_act": "gelu", "conv_kernel_size": 3, "pos_att_type": ["p2c", "c2p"]},
    ),
    (
        "mixedbread-ai/mxbai-rerank-base-v1",
        "deberta-v2",
        {"architectures": ["DebertaV2ForSequenceClassification"], **_NAMED, **_TRAINED, "legacy": True},
    ),
    ("answerdotai/ModernBERT-base", "modernbert", {"architectures": ["ModernBertForMaskedLM"], **_TRAINED}),
    ("Alibaba-NLP/gte-modernbert-base", "modernbert", {"torch_dtype": "float16", "transformers_version": "4.48.0"}),
    ("nomic-ai/modernbert-embed-base", "modernbert", {**_TRAINED}),
    ("ibm-granite/granite-embedding-english-r2", "modernbert", {"torch_dtype": "bfloat16", **_NAMED}),
    (
        "Alibaba-NLP/gte-reranker-modernbert-base",
        "modernbert",
        {"architectures": ["ModernBertForSequenceClassification"], **_NAMED},
    ),
    ("Qwen/Qwen3-Embedding-0.6B", "qwen3", {"bos_token_id": 3, "transformers_version": "4.51.3"}),
    ("Qwen/Qwen3-Embedding-8B", "qwen3", {"tie_word_embeddings": False}),
    ("Qwen/Qwen3-Reranker-0.6B", "qwen3", {"transformers_version": "4.51.0"}),
    (
        "tomaarsen/Qwen3-Reranker-0.6B-seq-cls",
        "qwen3",
        {"architectures": ["Qwen3ForSequenceClassification"], **_NAMED, "pad_token_id": 3},
    ),
    ("Qwen/Qwen3-0.6B", "qwen3", {"rope_scaling": None}),
    ("unsloth/Qwen3-0.6B", "qwen3", {**_UNSLOTH, "pad_token_id": 4, "dtype": "bfloat16"}),
    (
        "codefuse-ai/F2LLM-0.6B",
        "qwen3",
        {"layer_types": ["full_attention"] * 2, "dtype": "bfloat16", "use_cache": False},
    ),
    (
        "Octen/Octen-Embedding-0.6B",
        "qwen3",
        {"layer_types": ["full_attention"] * 2, "_attn_implementation_autoset": True},
    ),
    ("Qwen/Qwen2.5-0.5B", "qwen2", {**_QWEN25}),
    ("mixedbread-ai/mxbai-rerank-base-v2", "qwen2", {**_QWEN25, "rope_scaling": None, "pad_token_id": 3}),
    ("Qwen/Qwen1.5-0.5B", "qwen2", {**_WINDOW, "tie_word_embeddings": False}),
    ("HIT-TMG/KaLM-embedding-mini", "qwen2", {**_QWEN25, "rope_scaling": None, **_UNSLOTH}),
    ("intfloat/e5-mistral-7b-instruct", "mistral", {"sliding_window": 4096, "pad_token_id": 2, "use_cache": False}),
    ("Salesforce/SFR-Embedding-Mistral", "mistral", {"sliding_window": 4096, "torch_dtype": "float16"}),
    ("Linq-AI-Research/Linq-Embed-Mistral", "mistral", {"sliding_window": 4096, "head_dim": 8, "pad_token_id": 2}),
    ("BAAI/bge-en-icl", "mistral", {"sliding_window": 4096, "torch_dtype": "float32", "use_cache": True}),
    (
        "HuggingFaceTB/SmolLM2-135M",
        "llama",
        {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {}},
    ),
    ("unsloth/Llama-3.2-1B", "llama", {**_UNSLOTH, **_LLAMA3, "head_dim": 8, "mlp_bias": False, "pad_token_id": 4}),
    ("meta-llama/Llama-2-7b-hf", "llama", {"max_sequence_length": 512, "tie_word_embeddings": False}),
    ("BAAI/bge-multilingual-gemma2", "gemma2", {"cache_implementation": "hybrid", "pad_token_id": 0}),
    ("google/embeddinggemma-300m", "gemma3_text", {"use_bidirectional_attention": True, "dtype": "float32"}),
)

# Entries that change numbers which the network does not compute, each in a file like the one it is published in.
REFUSED: tuple[tuple[str, str, Entries, str], ...] = (
    ("jinaai/jina-embeddings-v2-base-en", "bert", {"position_embedding_type": "alibi"}, "position_embedding_type"),
    ("mosaicml/mosaic-bert-base", "bert", {"alibi_starting_size": 512}, "alibi_starting_size"),
    ("zhihan1996/DNABERT-2-117M", "bert", {"auto_map": {"AutoModel": "bert_layers.BertModel"}}, "auto_map"),
    ("jinaai/jina-embeddings-v3", "xlm-roberta", {"lora_rank": 4, "truncate_dim": None}, "lora_rank"),
    ("dunzhang/stella_en_1.5B_v5", "qwen2", {"auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"}}, "auto_map"),
    ("a Qwen2-VL text part", "qwen2", {"use_mrope": True}, "use_mrope"),
    ("a BERT with relative keys", "bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
    (
        "a Qwen3 with bidirectional attention",
        "qwen3",
        {"use_bidirectional_attention": True},
        "use_bidirectional_attention",
    ),
    (
        "code for the tokenizer, and more",
        "qwen3",
        {"auto_map": {"AutoTokenizer": "t.T"}, "pool_heads": 4},
        "pool_heads",
    ),
)
