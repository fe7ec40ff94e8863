"""How a question becomes tokens: the chat format and the byte-level BPE tokenizer.

The format is ChatML, because llama.cpp knows it by itself.  One exchange is exactly

    <|bos|><|im_start|>user\\nQUESTION<|im_end|>\\n<|im_start|>assistant\\nANSWER<|im_end|>

`<|bos|>` is added by the tokenizer (add_bos_token), `<|im_end|>` is the end token.  The splitting of
text before BPE is the GPT-2 rule, which llama.cpp calls "gpt-2".
"""
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, START, END = "<|bos|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [BOS, START, END]
BOS_ID, START_ID, END_ID = 0, 1, 2
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(texts, vocab_size):
    """BPE over `texts`; common numbers become one token, which makes them as easy to copy as words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prompt_text(question):
    """The text before the answer, without the BOS token."""
    return f"{START}user\n{question}{END}\n{START}assistant\n"


def encode_examples(tokenizer, examples):
    """For each example the pair (prompt token ids with BOS, answer token ids with END)."""
    prompts = tokenizer.encode_batch([prompt_text(e.question) for e in examples])
    answers = tokenizer.encode_batch([e.answer for e in examples])
    return [([BOS_ID] + p.ids, a.ids + [END_ID]) for p, a in zip(prompts, answers)]
