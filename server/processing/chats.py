"""Turns conversations into token ids by the model's chat template."""

from models import ChatTemplateError
from server.errors import InvalidValue
from server.processing.requests import Chats, Texts, Truncation, label_of
from server.processing.tokenization import NO_IDS, Between, PromptParts, TokenizedInputs, fit, go_on, text_limit
from server.registry import ServedModel


def prepare_chats(
    chats: Chats, truncation: Truncation, model: ServedModel, *, for_logits: bool, between: Between = go_on
) -> TokenizedInputs:
    """Tokenize conversations. The template makes the whole prompt, so no named prompt goes in front.

    Raises: ApiError: one is too long, or the template does not take it.
    """
    template, tokenizer = model.preprocessor.chat, model.preprocessor.tokenizer
    assert template is not None, "a model without a chat template reads single_messages()"
    label, limit = label_of(chats), text_limit(truncation, model, between)
    before, after = (tokenizer.before, tokenizer.after) if chats.add_special_tokens else (NO_IDS, NO_IDS)
    parts: list[PromptParts] = []
    for index, messages in enumerate(chats.values):
        between(0)
        try:
            ids, is_whole = template.encode(messages, chats.variables, limit)
        except ChatTemplateError as error:
            reason = f"the model's chat template does not take these messages: {str(error)[:200]}"
            raise InvalidValue(label(index), reason) from None
        # A score is read at the end of the prompt: what is cut has none.
        parts.append(PromptParts(before, ids, after, may_be_cut=not for_logits, is_whole=is_whole))
    return fit(parts, truncation, model, chats)


def single_messages(chats: Chats) -> Texts:
    """The texts of conversations of one message each: what a model without a chat template can read.

    Raises: InvalidValue: a conversation has more messages.
    """
    label = label_of(chats)
    for index, messages in enumerate(chats.values):
        if len(messages) > 1:
            reason = f"this model has no chat template, so it reads one message; got {len(messages)}. Send 'input'."
            raise InvalidValue(label(index), reason)
    return Texts(tuple(messages[0]["content"] for messages in chats.values), chats.is_list, chats.field)
