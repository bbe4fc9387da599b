"""Entries of config.json that record how a model was trained, saved or is to generate text: no forward pass reads them.

transformers writes them for every architecture. A network knows its other entries by a list of its own. No torch.
"""

# transformers 4.57, PretrainedConfig.__init__ and to_dict(): what it stores besides the fields of an architecture.
_RECORDS = (
    *("_name_or_path", "_commit_hash", "architectures", "auto_map", "transformers_version", "transformers.js_config"),
    *("torch_dtype", "dtype", "use_bfloat16", "xla_device", "tokenizer_class", "prefix", "language", "name"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    *("gradient_checkpointing", "initializer_range", "initializer_factor", "use_cache", "pretraining_tp"),
    *("output_attentions", "output_hidden_states", "output_past", "return_dict", "torchscript", "tf_legacy_loss"),
    *("chunk_size_feed_forward", "unsloth_fixed", "unsloth_version"),
    # The score's activation of a cross-encoder: check_classifier() reads it.
    *("sentence_transformers", "sbert_ce_default_activation_function"),
)
# Which of its kernels the library should take. Each computes the same, and Hearth chooses.
ATTENTION_CHOICES = (
    *("_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "attn_implementation"),
    *("_experts_implementation", "_experts_implementation_internal", "experts_implementation", "_flash_attn_2_enabled"),
    "use_flash_attn",
)
# The tokenizer's files decide which tokens stand around a text.
_TOKENS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id"),
    *("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"),
)
_DROPOUT = (
    *("attention_dropout", "attention_probs_dropout_prob", "hidden_dropout", "hidden_dropout_prob", "resid_pdrop"),
    *("classifier_dropout", "classifier_dropout_prob", "pooler_dropout", "summary_first_dropout", "dropout"),
)
# transformers 4.57, PretrainedConfig._get_global_generation_defaults().
_GENERATION = (
    *(
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "num_return_sequences",
    ),
    *("diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "output_scores"),
    *("return_dict_in_generate", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens"),
    *("begin_suppress_tokens", "max_new_tokens", "cache_implementation"),
)
# Entries of published models that no code has read since: Google's BERT and ALBERT, TinyBERT, DistilBERT, and trainers.
_LEFT_OVER = (
    *("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
    *("pooler_size_per_head", "pooler_type", "emb_size", "net_structure_type", "gap_size", "num_memory_blocks"),
    *("down_scale_factor", "tie_weights_", "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds"),
    *("model_max_length", "matryoshka_dimensions", "layers_to_keep"),
)
BOOKKEEPING = frozenset((*_RECORDS, *ATTENTION_CHOICES, *_TOKENS, *_DROPOUT, *_GENERATION, *_LEFT_OVER))

# Switches that make a decoder of an encoder, or one half of a pair of networks; off, they say nothing.
SWITCHED_OFF: dict[str, tuple[object, ...]] = {
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({},),
}
