"""The figures of a corpus against plain counting, and the leak check against planted copies."""

from __future__ import annotations

import random

from glassgpt.corpus.documents import Document
from glassgpt.corpus.splits import SplitConfig
from glassgpt.corpus.statistics import Extreme, survey
from glassgpt.corpus.textfiles import documents_of, read_text


def stories(count: int, words: int = 40) -> list[Document]:
    rng = random.Random(0)
    return [
        Document(" ".join(f"w{rng.randrange(5_000)}" for _ in range(words)) + f" É{n}", f"s#{n}")
        for n in range(count)
    ]


def test_figures_are_those_of_plain_counting():
    documents = stories(200)
    texts = [document.text for document in documents]
    figures = survey(documents, tokenize=lambda text: list(text.encode()))
    assert figures.documents == 200
    assert figures.characters == sum(map(len, texts))
    assert figures.bytes == figures.tokens == sum(len(text.encode()) for text in texts)
    assert figures.words == 200 * 41
    assert figures.distinct_words == len(set(" ".join(texts).lower().split()))
    assert not figures.is_sampled
    assert figures.longest == Extreme(
        max(map(len, texts)), max(documents, key=lambda d: len(d.text)).source, figures.longest.first_words
    )
    assert figures.shortest.characters == min(map(len, texts))
    assert len(figures.shortest.first_words.split()) == 8
    assert sum(split.documents for split in figures.splits.values()) == 200
    assert sum(split.characters for split in figures.splits.values()) == figures.characters


def test_without_a_tokenizer_tokens_are_not_counted():
    assert survey(stories(3)).tokens is None


def test_vocabulary_growth_rises_to_the_whole():
    figures = survey(stories(200))
    seen, distinct = zip(*figures.vocabulary_growth, strict=True)
    assert list(seen) == sorted(set(seen))
    assert list(distinct) == sorted(distinct)
    assert figures.vocabulary_growth[-1] == (figures.words, figures.distinct_words)
    assert len(seen) == 3  # at about 1,000 and 4,000 words, and at the end


def test_duplicates_are_counted():
    documents = stories(120)
    nearly = Document(documents[5].text.replace(" É5", " other"), "near")
    copies = [Document(documents[n].text, f"copy#{n}") for n in range(7)]
    figures = survey([*documents, *copies, nearly])
    assert figures.duplicates == 7
    assert figures.near_duplicates == 8
    assert figures.leaks["validation"].documents == 0  # copies are in the same split as the original


def test_planted_leaks_are_measured():
    """A text whose end repeats its beginning: half of the held-out text is also in the training text."""
    rng = random.Random(1)
    words = [f"w{rng.randrange(10**6)}" for _ in range(9_500)]
    text = " ".join(words + words[:500])
    figures = survey([Document(text, "t")], split_config=SplitConfig(validation=0.1, test=0.1))
    assert figures.leaks["validation"].runs == 0
    assert 0.4 < figures.leaks["test"].runs < 0.6
    assert figures.splits["train"].documents == figures.splits["test"].documents == 1


def test_pieces_count_as_one_document():
    text = "the lamp was lit again " * 200
    figures = survey(documents_of(lambda: iter([text]), name="book", block=300))
    assert (figures.documents, figures.characters) == (1, len(text))
    assert (
        figures.longest
        == figures.shortest
        == Extreme(len(text), "book", "the lamp was lit again the lamp was")
    )
    assert {name: split.documents for name, split in figures.splits.items()} == {"train": 1, "validation": 1}


def test_a_real_sample(shared_data):
    figures = survey(read_text(shared_data / "tinystories-sample.txt"))
    assert figures.documents == 1_051
    assert figures.duplicates == 0
    assert 0.05 < figures.splits["validation"].documents / 1_051 < 0.15
    assert 0 < figures.leaks["validation"].runs < 0.01
    assert figures.to_dict()["splits"]["train"]["characters"] == figures.splits["train"].characters


def test_no_documents_at_all():
    figures = survey([])
    assert (figures.documents, figures.longest, figures.splits) == (0, None, {})


def test_no_share_of_runs_is_given_where_there_are_none() -> None:
    """A text of one long word has no runs of 13 words, but was once reported to share 0.00% of them."""
    assert survey([Document("a" * 5_000, "a.txt")]).leaks["validation"].runs is None
    assert survey([Document("a", "a.txt")]).leaks == {}
