"""Which models a few words are about, and how much.

Short texts (name, aliases, tags, architecture) are in memory and searched for parts of words; long ones (description,
card) by an index of their words, of which the beginning is enough.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.orm import Session

from registry.errors import InvalidError
from registry.reads.zoo import Model
from registry.tables import ModelRow

MAX_WORDS = 16
# how much a short text that is the word, begins with it, or holds it counts beside ts_rank, which is below 1
WHOLE, BEGINNING, PART = 4.0, 2.0, 1.0


def search(session: Session, models: Iterable[Model], q: str) -> Mapping[int, float]:
    """By id, the relevance of those of the models about which every word of q is, in any case; greater is better.

    InvalidError for more than MAX_WORDS words.
    """
    words = list(dict.fromkeys(q.casefold().split()))
    if len(words) > MAX_WORDS:
        raise InvalidError(f"`q` has {len(words)} words: send at most {MAX_WORDS}.")
    found = {model.id: 0.0 for model in models}
    short = {model.id: _short_texts(model) for model in models}
    for word in words:
        ranks = defaultdict(float, _ranks(session, word))
        scores = {model_id: _best(short[model_id], word) + ranks[model_id] for model_id in found}
        found = {model_id: found[model_id] + score for model_id, score in scores.items() if score}
    return found


def _short_texts(model: Model) -> list[str]:
    return [text.casefold() for text in (model.name, *model.aliases, *model.tags, model.architecture)]


def _best(texts: Iterable[str], word: str) -> float:
    def value(text: str) -> float:
        if word not in text:
            return 0.0
        return WHOLE if text == word else BEGINNING if text.startswith(word) else PART

    return max(value(text) for text in texts)


def _ranks(session: Session, word: str) -> dict[int, float]:
    """By id, how much the long texts are about the word; those without it are left out."""
    # a database in the locale C knows the case of ASCII letters only
    spelled = {word, word.upper(), word.capitalize()} if not word.isascii() else {word}
    quoted = ["'" + each.replace("\\", "\\\\").replace("'", "''") + "':*" for each in sorted(spelled)]
    query = func.to_tsquery(literal("simple", REGCONFIG), " | ".join(quoted))
    about = select(ModelRow.id, func.ts_rank(ModelRow.words, query).label("rank")).where(ModelRow.words.op("@@")(query))
    return {row.id: row.rank for row in session.execute(about)}
